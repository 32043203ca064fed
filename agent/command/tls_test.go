package command

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTLS(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(wantCode int, says string, args ...string) {
		t.Helper()
		code, out, errs := invoke("", "", append([]string{"tls"}, args...)...)
		if code != wantCode || !strings.Contains(out+errs, says) {
			t.Errorf("%q: exit code %d: %s%s", args, code, out, errs)
		}
	}
	run(1, "tls ca create", "cert", "create", "-server")
	run(0, "==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem", "ca", "create")
	run(1, "exists already", "ca", "create")
	run(0, "dc1-server-consul-0-key.pem", "cert", "create", "-server")
	run(0, "dc1-server-consul-1.pem", "cert", "create", "-server", "-node=n1", "-additional-dnsname=x.test", "-additional-ipaddress=::1")
	run(0, "dc2-client-consul-0.pem", "cert", "create", "-client", "-dc=dc2")
	run(0, "dc1-cli-consul-0.pem", "cert", "create", "-cli")
	run(1, "set one of", "cert", "create")
	run(1, "set one of", "cert", "create", "-server", "-client")
	run(1, "-node needs -server", "cert", "create", "-client", "-node=x")
	run(1, "outlive", "cert", "create", "-cli", "-days=9999")
	run(1, "DNS names", "cert", "create", "-cli", "-dc=../../etc")
	run(1, "IP address", "cert", "create", "-cli", "-additional-ipaddress=x")
	run(1, "no certificate of a CA", "cert", "create", "-cli", "-ca=dc1-cli-consul-0.pem", "-key=dc1-cli-consul-0-key.pem")
	run(1, "no domain name", "ca", "create", "-domain=../x")
	run(0, "", "ca", "create", "-domain=limited.test", "-name-constraint", "-additional-name-constraint=b.test", "-cluster-id=40e4a748-2192-161a-0510-9bf59fe950b5", "-days=10", "-common-name=Mine")

	roots := x509.NewCertPool()
	pem, err := os.ReadFile("consul-agent-ca.pem")
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	f := func(name, dns string, usage x509.ExtKeyUsage, wantOK bool) *x509.Certificate {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(name+".pem", name+"-key.pem")
		if err != nil {
			t.Fatal(err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: dns, Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
		if (err == nil) != wantOK {
			t.Errorf("%s for %s: %v", name, dns, err)
		}
		info, err := os.Stat(name + "-key.pem")
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: key has mode %v", name, info.Mode())
		}
		return pair.Leaf
	}
	server, asClient := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	f("dc1-server-consul-0", "server.dc1.consul", server, true)
	f("dc1-server-consul-0", "localhost", asClient, true)
	f("dc1-server-consul-0", "n1.server.dc1.consul", server, false)
	f("dc1-server-consul-1", "x.test", server, true)
	f("dc1-server-consul-1", "::1", server, true)
	f("dc1-server-consul-1", "n1.server.dc1.consul", server, true)
	f("dc2-client-consul-0", "client.dc2.consul", asClient, true)
	f("dc2-client-consul-0", "server.dc2.consul", server, false)
	f("dc1-cli-consul-0", "cli.dc1.consul", server, false)
	leaf := f("dc1-cli-consul-0", "cli.dc1.consul", asClient, true)
	if left := time.Until(leaf.NotAfter); left < 364*day || left > 366*day || slices.ContainsFunc(leaf.IPAddresses, net.IP.IsLoopback) {
		t.Errorf("the command line's certificate: %s left, addresses %v", left, leaf.IPAddresses)
	}
	run(0, "Renewed dc1-server-consul-1.pem and dc1-server-consul-1-key.pem", "cert", "renew", "-days=30", "dc1-server-consul-1.pem")
	was, renewed := leaf, f("dc1-server-consul-1", "n1.server.dc1.consul", server, true)
	if left := time.Until(renewed.NotAfter); left < 29*day || left > 31*day || renewed.SerialNumber.Cmp(was.SerialNumber) == 0 {
		t.Errorf("the renewed certificate: %s left", left)
	}
	f("dc1-server-consul-1", "::1", asClient, true)
	run(0, "", "cert", "renew", "dc1-cli-consul-0.pem")
	f("dc1-cli-consul-0", "cli.dc1.consul", server, false)
	run(1, "certificate of a CA", "cert", "renew", "-key=consul-agent-ca-key.pem", "consul-agent-ca.pem")
	run(1, "outlive", "cert", "renew", "-days=9999", "dc1-cli-consul-0.pem")
	run(1, "no such file", "cert", "renew", "none.pem")

	ca, _, err := loadCA("limited.test-agent-ca.pem", "limited.test-agent-ca-key.pem")
	if err != nil || !slices.Equal(ca.PermittedDNSDomains, []string{"b.test", "limited.test", "localhost"}) || !ca.PermittedDNSDomainsCritical ||
		ca.URIs[0].String() != "spiffe://40e4a748-2192-161a-0510-9bf59fe950b5.limited.test" || ca.Subject.CommonName != "Mine" {
		t.Errorf("limited CA: %+v %v", ca, err)
	}
}
