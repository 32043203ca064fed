package authmethod_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/authmethod"
)

// TestKubernetes: the API server says whose token one is.
func TestKubernetes(t *testing.T) {
	user, annotation := "system:serviceaccount:prod:web", ""
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer reviewer":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews":
			var review struct{ Spec struct{ Token string } }
			json.NewDecoder(r.Body).Decode(&review)
			fmt.Fprintf(w, `{"status":{"authenticated":%v,"user":{"username":%q,"uid":"u"}}}`, review.Spec.Token == "good", user)
		case r.URL.Path == "/api/v1/namespaces/prod/serviceaccounts/web":
			fmt.Fprintf(w, `{"metadata":{"annotations":{"consul.hashicorp.com/service-name":%q}}}`, annotation)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	m := method(catalog.AuthKubernetes, map[string]any{"Host": s.URL, "CACert": ca, "ServiceAccountJWT": "reviewer"})
	service := authmethod.New()
	if err := service.Check(m); err != nil {
		t.Fatal(err)
	}
	who, err := service.Login(t.Context(), m, "good")
	if err != nil || fmt.Sprint(who.Variables) != "map[serviceaccount.name:web serviceaccount.namespace:prod serviceaccount.uid:u]" {
		t.Fatal(who, err)
	}
	annotation = "api"
	if who, err = service.Login(t.Context(), m, "good"); err != nil || who.Variables["serviceaccount.name"] != "api" {
		t.Error(who, err)
	}
	who, err = service.Login(t.Context(), m, "bad")
	refused(t, who, err, "does not know")
	user = "alice"
	who, err = service.Login(t.Context(), m, "good")
	refused(t, who, err, "service account")
	who, err = service.Login(t.Context(), method(catalog.AuthKubernetes, map[string]any{"Host": s.URL, "CACert": ca, "ServiceAccountJWT": "x"}), "good")
	refused(t, who, err, "403")
	for _, host := range []string{"", "http://127.0.0.1", "https://a b", "127.0.0.1"} {
		if err := service.Check(method(catalog.AuthKubernetes, map[string]any{"Host": host, "CACert": ca, "ServiceAccountJWT": "x"})); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

// TestAWS: a signed request is passed on to the endpoint of the configuration, whatever it says, and to ask nothing but
// who has signed it.
func TestAWS(t *testing.T) {
	asked := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.Path + " " + string(body) + " " + r.Header.Get("Authorization") + r.Header.Get("X-Odd")
		fmt.Fprint(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123:assumed-role/web/session</Arn><UserId>AROA:session</UserId><Account>123</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	}))
	defer s.Close()
	service := authmethod.New()
	aws := func(bound, server string) *catalog.AuthMethod {
		return method(catalog.AuthAWS, map[string]any{"BoundIAMPrincipalARNs": []string{bound}, "STSEndpoint": s.URL, "ServerIDHeaderValue": server})
	}
	bearer := func(method, body, headers string) string {
		b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
		text, _ := json.Marshal(map[string]string{"iam_http_request_method": method, "iam_request_url": b64("https://evil/"), "iam_request_body": b64(body), "iam_request_headers": b64(headers)})
		return string(text)
	}
	const identity, signed = "Action=GetCallerIdentity&Version=2011-06-15", `{"Authorization":["AWS4 SignedHeaders=host;x-consul-iam-serverid, Signature=x"],"X-Consul-IAM-ServerID":["here"],"X-Odd":["x"]}`
	good := bearer("POST", identity, signed)
	who, err := service.Login(t.Context(), aws("arn:aws:iam::123:role/web", "here"), good)
	if err != nil || fmt.Sprint(who.Variables) != "map[account_id:123 entity_id:AROA entity_name:web]" {
		t.Fatal(who, err)
	}
	if asked != "POST / "+identity+" AWS4 SignedHeaders=host;x-consul-iam-serverid, Signature=x" {
		t.Errorf("asked %q", asked)
	}
	if _, err := service.Login(t.Context(), aws("arn:aws:iam::123:role/*", ""), good); err != nil {
		t.Error(err)
	}
	f := func(says string, m *catalog.AuthMethod, bearer string) {
		t.Helper()
		who, err := service.Login(t.Context(), m, bearer)
		refused(t, who, err, says)
	}
	f("not among", aws("arn:aws:iam::123:role/db", ""), good)
	f("another cluster", aws("arn:aws:iam::123:role/web", "there"), good)
	f("another cluster", aws("arn:aws:iam::123:role/web", "here"), bearer("POST", identity, `{"Authorization":["AWS4 SignedHeaders=host, Signature=x"],"X-Consul-IAM-ServerID":["here"]}`))
	f("another one", aws("arn:aws:iam::123:role/web", ""), bearer("POST", "Action=DeleteUser&Version=2011-06-15", signed))
	f("another one", aws("arn:aws:iam::123:role/web", ""), bearer("GET", identity, signed))
	f("JSON", aws("arn:aws:iam::123:role/web", ""), "x")
	for _, bound := range []string{"*", "arn:*:role/web", "arn:aws:iam::123:role*x"} {
		if err := service.Check(aws(bound, "")); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("bound %q: %v", bound, err)
		}
	}
}
