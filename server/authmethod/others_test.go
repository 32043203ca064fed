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
	"github.com/curia-mesh/curia/catalog/filter"
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

// TestAWSDetails: with EnableIAMEntityDetails IAM is asked about the entity that has signed, by a request that it has signed
// too, and tells its path and tags. A request about another entity, one that is not signed with the first, and an answer
// about somebody else are refused.
func TestAWSDetails(t *testing.T) {
	const identity = "Version=2011-06-15&Action=GetCallerIdentity" // in an order of the signer's own
	about := "AROA"
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) != identity || r.Header.Get("X-Consul-IAM-GetEntity-Body") == "" {
			t.Errorf("STS is asked %q with %v", body, r.Header)
		}
		fmt.Fprint(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123:assumed-role/web/session</Arn><UserId>AROA:session</UserId><Account>123</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	}))
	defer sts.Close()
	iam := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) != "Action=GetRole&RoleName=web&Version=2010-05-08" || r.Header.Get("Authorization") != "inner" || r.Header.Get("X-Odd") != "" {
			t.Errorf("IAM is asked %q with %v", body, r.Header)
		}
		fmt.Fprintf(w, `<GetRoleResponse><GetRoleResult><Role><Path>/team/</Path><Arn>arn:aws:iam::123:role/team/web</Arn><RoleName>web</RoleName><RoleId>%s</RoleId>
			<Tags><member><Key>team</Key><Value>ops</Value></member><member><Key>other</Key><Value>x</Value></member></Tags></Role></GetRoleResult></GetRoleResponse>`, about)
	}))
	defer iam.Close()
	service := authmethod.New()
	aws := func(bound string) *catalog.AuthMethod {
		return method(catalog.AuthAWS, map[string]any{
			"BoundIAMPrincipalARNs": []string{bound}, "STSEndpoint": sts.URL, "IAMEndpoint": iam.URL, "EnableIAMEntityDetails": true, "IAMEntityTags": []string{"team", "none"},
		})
	}
	const all = "host;x-consul-iam-getentity-body;x-consul-iam-getentity-headers;x-consul-iam-getentity-method;x-consul-iam-getentity-url"
	bearer := func(signed, method, body string) string {
		b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
		headers, _ := json.Marshal(map[string][]string{
			"Authorization": {"AWS4 SignedHeaders=" + signed + ", Signature=x"}, "X-Consul-IAM-GetEntity-Method": {method}, "X-Consul-IAM-GetEntity-URL": {"https://evil/"},
			"X-Consul-IAM-GetEntity-Headers": {`{"Authorization":["inner"],"X-Odd":["x"]}`}, "X-Consul-IAM-GetEntity-Body": {body},
		})
		text, _ := json.Marshal(map[string]string{"iam_http_request_method": "POST", "iam_request_url": b64("https://evil/"), "iam_request_body": b64(identity), "iam_request_headers": b64(string(headers))})
		return string(text)
	}
	const role = "Action=GetRole&RoleName=web&Version=2010-05-08"
	good := bearer(all, "POST", role)
	m := aws("arn:aws:iam::123:role/team/*")
	who, err := service.Login(t.Context(), m, good)
	if err != nil || fmt.Sprint(who.Variables) != "map[account_id:123 entity_id:AROA entity_name:web entity_path:/team/ entity_tags.none: entity_tags.team:ops]" {
		t.Fatal(who, err)
	}
	blank, err := service.Blank(m)
	if err != nil {
		t.Fatal(err)
	}
	for selector, want := range map[string]bool{`entity_tags.team == "ops" and entity_path == "/team/"`: true, `entity_tags.none == "x"`: false} {
		keep, err := filter.Compile(selector)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keep.Accepts(who.Fields); err != nil || got != want {
			t.Errorf("%s: %v, %v", selector, got, err)
		}
		if _, err := keep.Accepts(blank.Fields); err != nil {
			t.Errorf("%s: %v", selector, err)
		}
	}
	f := func(says string, m *catalog.AuthMethod, bearer string) {
		t.Helper()
		who, err := service.Login(t.Context(), m, bearer)
		refused(t, who, err, says)
	}
	f("not among", aws("arn:aws:iam::123:role/web"), good) // it is the one without the path
	f("another one", m, bearer(all, "POST", "Action=GetRole&RoleName=db&Version=2010-05-08"))
	f("another one", m, bearer(all, "POST", "Action=DeleteRole&RoleName=web&Version=2010-05-08"))
	f("another one", m, bearer(all, "GET", role))
	f("no signed request about its entity", m, bearer("host", "POST", role))
	about = "AROB"
	f("another entity", m, good)
	if err := service.Check(method(catalog.AuthAWS, map[string]any{"BoundIAMPrincipalARNs": []string{"arn:aws:iam::123:role/web"}, "IAMEntityTags": []string{"team"}})); catalog.CodeOf(err) != catalog.Invalid {
		t.Error(err)
	}
}
