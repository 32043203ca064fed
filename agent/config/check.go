package config

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/curia-mesh/curia/catalog"
)

// The checks of single settings. Each says what is wrong; Load adds which setting, and where it was set.

func oneOf(allowed ...string) func(any) error {
	return func(v any) error {
		if v == "" || slices.Contains(allowed, strings.ToLower(v.(string))) {
			return nil
		}
		return fmt.Errorf("%q is none of %s", v, strings.Join(allowed, ", "))
	}
}

func between(least, most int) func(any) error {
	return func(v any) error {
		if n := v.(int); n < least || n > most {
			return fmt.Errorf("%d is not between %d and %d", n, least, most)
		}
		return nil
	}
}

func atLeast(least int) func(any) error {
	return func(v any) error {
		if n := v.(int); n < least {
			return fmt.Errorf("%d is below %d", n, least)
		}
		return nil
	}
}

func port(v any) error {
	if n := v.(int); n > 65535 {
		return fmt.Errorf("%d is no port: want 1 to 65535, 0 for any free one or -1 for none", n)
	}
	return nil
}

func portOrNone(v any) error {
	if n := v.(int); n < 0 || n > 65535 {
		return fmt.Errorf("%d is not between 0 and 65535", n)
	}
	return nil
}

func rate(v any) error {
	if v.(float64) == 0 {
		return errors.New("0 would allow nothing: want more than 0, or -1 for no limit")
	}
	return nil
}

func spanOf(least time.Duration) func(any) error {
	return func(v any) error {
		if d := v.(time.Duration); d < least {
			return fmt.Errorf("%s is below %s", d, least)
		}
		return nil
	}
}

func reapClasses(v any) error {
	for class, d := range v.(map[string]time.Duration) {
		if key, _, ok := strings.Cut(class, "="); !ok || key == "" {
			return fmt.Errorf("%q is no metadata of a node: want key=value", class)
		}
		if d < time.Minute {
			return fmt.Errorf("%s of %q is below 1m", d, class)
		}
	}
	return nil
}

func anySpan(any) error { return nil }

func spans(v any) error {
	for name, d := range v.(map[string]time.Duration) {
		if d < 0 {
			return fmt.Errorf("%s of %q is negative", d, name)
		}
		if i := strings.IndexByte(name, '*'); name == "" || i >= 0 && i != len(name)-1 {
			return fmt.Errorf("%q is no service: want a name, the beginning of one with * behind it, or *", name)
		}
	}
	return nil
}

func cidrs(v any) error {
	for _, text := range v.([]string) {
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("%q is no network: want one such as 10.0.0.0/8", text)
		}
	}
	return nil
}

func datacenter(v any) error {
	name := strings.ToLower(v.(string))
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return fmt.Errorf("%q is no name of a datacenter: want letters, digits, - and _ only", v)
		}
	}
	if len(name) > 63 {
		return fmt.Errorf("%q has %d characters, at most 63 are allowed", v, len(name))
	}
	return nil
}

func nodeName(v any) error {
	name := v.(string)
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '"' || r == '\'' }) {
		return fmt.Errorf("%q is no name of a node: spaces and quotes are not allowed", name)
	}
	if len(name) > 128 {
		return fmt.Errorf("%.20q… has %d characters, at most 128 are allowed", name, len(name))
	}
	return nil
}

func uuid(v any) error {
	if v == "" {
		return nil
	}
	return catalog.ValidateID("value", v.(string))
}

func meta(v any) error { return catalog.ValidateMeta(v.(map[string]string), false) }

// gossipKey never says what the key is.
func gossipKey(v any) error {
	if v == "" {
		return nil
	}
	key, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		return errors.New("the key is not base64: make one with keygen")
	}
	if n := len(key); n != 16 && n != 24 && n != 32 {
		return fmt.Errorf("the key has %d bytes, want 16, 24 or 32: make one with keygen", n)
	}
	return nil
}

func domain(v any) error {
	name := strings.TrimSuffix(v.(string), ".")
	if name == "" {
		return nil
	}
	for label := range strings.SplitSeq(name, ".") {
		if !catalog.IsDNSLabel(label) {
			return fmt.Errorf("%q is no domain: want labels of letters, digits and dashes with dots between them", v)
		}
	}
	return nil
}

func hostPort(v any) error {
	if v == "" {
		return nil
	}
	if strings.HasPrefix(v.(string), "unix://") {
		return nil
	}
	if _, _, err := net.SplitHostPort(v.(string)); err != nil {
		return fmt.Errorf("%q is no address with a port, such as 127.0.0.1:8125", v)
	}
	return nil
}

func paths(v any) error {
	for _, path := range v.([]string) {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%q does not begin with /", path)
		}
	}
	return nil
}

func headers(v any) error {
	for name, value := range v.(map[string]string) {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
			return fmt.Errorf("%q is no name of a header", name)
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("the value of header %s holds a line break", name)
		}
	}
	return nil
}

func addHeaders(v any) error {
	for _, h := range v.([]AddHeader) {
		if err := headers(map[string]string{h.Name: h.Value}); err != nil {
			return err
		}
	}
	return nil
}

func webURL(v any) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v.(string))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no URL that begins with http:// or https://", redact(v.(string)))
	}
	return nil
}

func webURLs(v any) error {
	for name, text := range v.(map[string]string) {
		if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
			return fmt.Errorf("%q of %q does not begin with http:// or https://", redact(text), name)
		}
	}
	return nil
}

func jsonObject(v any) error {
	if v == "" {
		return nil
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(v.(string)), &object); err != nil {
		return fmt.Errorf("want a JSON object: %w", err)
	}
	return nil
}

func contentPath(v any) error {
	path := v.(string)
	if strings.ContainsFunc(path, func(r rune) bool {
		return !(r == '/' || r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9')
	}) {
		return fmt.Errorf("%q: only letters, digits, -, _ and / are allowed", path)
	}
	if strings.HasPrefix("/"+strings.Trim(path, "/")+"/", "/v1/") {
		return fmt.Errorf("%q is where the HTTP API is", path)
	}
	return nil
}

func octal(v any) error {
	if v == "" {
		return nil
	}
	if mode, err := strconv.ParseUint(v.(string), 8, 32); err != nil || mode > 0o777 {
		return fmt.Errorf("%q is no mode of a file: want octal digits such as 0770", v)
	}
	return nil
}

// tlsVersions maps the versions that files may name, the older spelling too.
func tlsVersions() map[string]uint16 {
	return map[string]uint16{
		"TLSv1_0": tls.VersionTLS10, "TLSv1_1": tls.VersionTLS11, "TLSv1_2": tls.VersionTLS12, "TLSv1_3": tls.VersionTLS13,
		"tls10": tls.VersionTLS10, "tls11": tls.VersionTLS11, "tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13,
	}
}

func tlsVersion(v any) error {
	if _, ok := tlsVersions()[v.(string)]; v != "" && !ok {
		return fmt.Errorf("%q is none of TLSv1_0, TLSv1_1, TLSv1_2, TLSv1_3", v)
	}
	return nil
}

func cipherSuites(v any) error {
	known := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	for name := range strings.SplitSeq(v.(string), ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.ContainsFunc(known, func(s *tls.CipherSuite) bool { return s.Name == name }) {
			return fmt.Errorf("%q is no cipher suite of Go's crypto/tls", name)
		}
	}
	return nil
}

func ips(v any) error {
	for _, text := range v.([]string) {
		if _, err := netip.ParseAddr(text); err != nil {
			return fmt.Errorf("%q is no IP address", text)
		}
	}
	return nil
}

func configEntries(v any) error {
	_, err := ConfigEntries{v.([]map[string]any)}.Entries()
	return err
}

func entryKind(entry map[string]any) string {
	for name, value := range entry {
		if kind, ok := value.(string); ok && strings.EqualFold(name, "kind") {
			return kind
		}
	}
	return ""
}

func watches(v any) error {
	for i, w := range v.([]Watch) {
		if err := w.validate(); err != nil {
			return fmt.Errorf("watch %d: %w", i, err)
		}
	}
	return nil
}

func segments(v any) error {
	for i, s := range v.([]Segment) {
		if s.Name == "" || len(s.Name) > 64 || s.Port < 1 || s.Port > 65535 {
			return fmt.Errorf("segment %d: want a name of 1 to 64 characters and a port of 1 to 65535", i)
		}
	}
	return nil
}

func auditSinks(v any) error {
	for name, sink := range v.(map[string]AuditSink) {
		switch {
		case sink.Type != "" && sink.Type != "file":
			return fmt.Errorf("sink %q: type %q is not file", name, sink.Type)
		case sink.Format != "" && sink.Format != "json":
			return fmt.Errorf("sink %q: format %q is not json", name, sink.Format)
		case sink.Path == "":
			return fmt.Errorf("sink %q has no path", name)
		case octal(sink.Mode) != nil:
			return fmt.Errorf("sink %q: mode: %w", name, octal(sink.Mode))
		}
	}
	return nil
}

func caConfig(v any) error {
	for _, key := range []string{"leaf_cert_ttl", "intermediate_cert_ttl", "root_cert_ttl"} {
		text, ok := v.(map[string]any)[key].(string)
		if !ok {
			continue
		}
		if d, err := time.ParseDuration(text); err != nil || d < time.Hour {
			return fmt.Errorf("%s %q is no duration of 1h or more", key, text)
		}
	}
	return nil
}
