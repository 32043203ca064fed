package config

import (
	"testing"

	"github.com/hashicorp/go-sockaddr/template"
)

// What a template says is what go-sockaddr's own package makes of it.
func TestTemplates(t *testing.T) {
	for _, text := range []string{
		`{{ GetPrivateIP }}`, `{{GetPublicIPs}}`, `{{ GetInterfaceIP "lo" }}`, `{{ GetInterfaceIPs "lo" }} x`,
		`{{ GetAllInterfaces | include "name" "^lo$" | attr "address" }}`,
		`{{ GetAllInterfaces | include "type" "IPv4" | sort "-address,default" | limit 1 | join "address" " " }}`,
		`{{ GetAllInterfaces | exclude "flags" "loopback" | offset 1 | unique "address" | join "address" "," }}`,
		`{{ GetAllInterfaces | include "network" "127.0.0.0/8" | math "address" "+1" | join "address" " " }}`,
		`{{ . | include "name" "lo" | attr "network" }}`,
		`{{ with $l := GetAllInterfaces | include "name" "lo" }}{{ range $l }}{{ .Name }} {{ attr "address" . }} {{ end }}{{ end }}`,
		`{{ range $i, $a := GetAllInterfaces | include "name" "lo" }}{{ $i }}={{ $a.Name }};{{ end }}`,
		`{{ if GetAllInterfaces | include "name" "none" }}yes{{ else }}no{{ end }}`,
		`{{ if eq (GetInterfaceIP "lo") "127.0.0.1" }}{{ printf "%s/%d" "a" 8 }}{{ else if true }}b{{ end }}`,
		`{{ $x := "a" }}{{ $x }}{{/* nothing */}}{{- "b" }} {{ len GetAllInterfaces | printf "%T" }}`,
		`{{ (index (GetAllInterfaces | include "name" "lo") 0).Name }}`,
		`{{ range GetAllInterfaces | include "name" "none" }}x{{ else }}none{{ end }}`,
		`{{ GetAllInterfaces | sort "default" | include "name" "^lo$" | limit 5 | join "name" " " }}`,
		`plain`, `{{ with "" }}a{{ else }}b{{ end }}`, `{{ not true }}{{ ne 1 2 }}`,
	} {
		want, err := template.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := sockaddrTemplate(text); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		`{{ GetPrivateIP`, `{{ Nonsense }}`, `{{ GetInterfaceIP }}`, `{{ GetInterfaceIP 5 }}`, `{{ "a" | "b" }}`, `{{ template "x" }}`, `{{ .Name }}`,
		`{{ GetAllInterfaces | limit "x" }}`, `{{ range 3 }}{{ .X }}{{ end }}`, `{{ $x }}`, `{{ index GetAllInterfaces 9999 }}`, `{{ GetAllInterfaces | include "nonsense" "x" }}`,
	} {
		if got, err := sockaddrTemplate(text); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// Whatever the text is, there is an answer; a function of go-sockaddr may panic.
func FuzzTemplates(f *testing.F) {
	for _, text := range []string{`{{ GetInterfaceIP "lo" }}`, `{{ range $i, $a := . | include "name" "lo" }}{{ $i }}{{ $a.Name }}{{ end }}`, `{{ if eq 1 1 }}{{ (index . 0).Name }}{{ end }}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{config: &Config{}}
		l.expand("bind_addr", "{{"+text)
	})
}
