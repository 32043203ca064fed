package trust

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func TestCipherSuites(t *testing.T) {
	f := func(names string, want ...uint16) {
		t.Helper()
		if got, err := Suites(names); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %v, %v; want %v", names, got, err, want)
		}
	}
	f("")
	f("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	f("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
	for _, bad := range []string{"TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "aes", "tls_ecdhe_rsa_with_aes_128_gcm_sha256"} {
		if got, err := Suites(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q is %v, %v", bad, got, err)
		}
	}
}
