package authmethod

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// awsConfig is the Config of the type aws-iam.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/auth-method/aws-iam
type awsConfig struct {
	BoundIAMPrincipalARNs  []string
	EnableIAMEntityDetails bool
	IAMEntityTags          []string
	ServerIDHeaderValue    string
	MaxRetries             int
	IAMEndpoint            string
	STSEndpoint            string
	STSRegion              string
	AllowedSTSHeaderValues []string
}

const (
	defaultSTS     = "https://sts.amazonaws.com"
	serverIDHeader = "X-Consul-Iam-Serverid"
)

func readAWS(m *catalog.AuthMethod) (*awsConfig, error) {
	c := &awsConfig{}
	if err := settings(m, c); err != nil {
		return nil, err
	}
	if c.STSEndpoint == "" {
		c.STSEndpoint = defaultSTS
	}
	switch {
	case len(c.BoundIAMPrincipalARNs) == 0:
		return nil, catalog.Errorf(catalog.Invalid, "Config: BoundIAMPrincipalARNs is empty: it names who may log in")
	case c.EnableIAMEntityDetails || len(c.IAMEntityTags) > 0:
		return nil, catalog.Errorf(catalog.Invalid, "Config: EnableIAMEntityDetails and IAMEntityTags are not supported: leave them out")
	}
	for _, arn := range c.BoundIAMPrincipalARNs {
		if strings.Contains(strings.TrimSuffix(arn, "*"), "*") || strings.TrimSuffix(arn, "*") == "" || strings.HasSuffix(arn, "*") && !strings.Contains(arn, "/") {
			return nil, catalog.Errorf(catalog.Invalid, "BoundIAMPrincipalARNs: %q: a * may only stand at the end, behind a /", arn)
		}
	}
	return c, checkURL("STSEndpoint", c.STSEndpoint)
}

// entityFields is what selectors speak of.
type entityFields struct {
	Name    string `bexpr:"entity_name"`
	ID      string `bexpr:"entity_id"`
	Account string `bexpr:"account_id"`
}

func entity(name, id, account string) *Subject {
	return &Subject{&entityFields{name, id, account}, map[string]string{"entity_name": name, "entity_id": id, "account_id": account}}
}

// signedRequest is a bearer token: a request to STS that its holder has signed.
type signedRequest struct {
	Method  string `json:"iam_http_request_method"`
	URL     string `json:"iam_request_url"`     // in base64
	Body    string `json:"iam_request_body"`    // in base64
	Headers string `json:"iam_request_headers"` // JSON in base64
}

// callerBody is the only request that is passed on.
var callerBody = url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}

func loginAWS(ctx context.Context, m *catalog.AuthMethod, bearer string) (*Subject, error) {
	c, err := readAWS(m)
	if err != nil {
		return nil, err
	}
	r, err := c.request(ctx, bearer)
	if err != nil {
		return nil, err
	}
	answer, err := fetch(client(nil), r)
	if err != nil {
		return nil, err
	}
	caller := struct {
		ARN     string `xml:"GetCallerIdentityResult>Arn"`
		UserID  string `xml:"GetCallerIdentityResult>UserId"`
		Account string `xml:"GetCallerIdentityResult>Account"`
	}{}
	if err := xml.Unmarshal(answer, &caller); err != nil || caller.ARN == "" {
		return nil, errors.New("STS does not say who signed the request")
	}
	arn, name := principal(caller.ARN)
	if !slices.ContainsFunc(c.BoundIAMPrincipalARNs, func(bound string) bool {
		prefix, open := strings.CutSuffix(bound, "*")
		return arn == bound || open && strings.HasPrefix(arn, prefix)
	}) {
		return nil, fmt.Errorf("%s is not among the method's BoundIAMPrincipalARNs", arn)
	}
	id, _, _ := strings.Cut(caller.UserID, ":")
	return entity(name, id, caller.Account), nil
}

// request is the signed request, to the endpoint of the configuration: where its holder would have it sent does not
// count, nor may it ask for anything else.
func (c *awsConfig) request(ctx context.Context, bearer string) (*http.Request, error) {
	signed := &signedRequest{}
	if err := json.Unmarshal([]byte(bearer), signed); err != nil {
		return nil, errors.New("the token is no signed request in JSON")
	}
	var body, headers []byte
	for from, to := range map[string]*[]byte{signed.Body: &body, signed.Headers: &headers} {
		var err error
		if *to, err = base64.StdEncoding.DecodeString(from); err != nil {
			return nil, errors.New("the token's signed request is not in base64")
		}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || signed.Method != http.MethodPost || form.Encode() != callerBody.Encode() {
		return nil, errors.New("the token's signed request is another one than POST Action=GetCallerIdentity&Version=2011-06-15")
	}
	given := http.Header{}
	if err := json.Unmarshal(headers, &given); err != nil {
		return nil, errors.New("the headers of the token's signed request are no JSON")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.STSEndpoint, "/")+"/", strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	allowed := append([]string{"Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Security-Token", serverIDHeader}, c.AllowedSTSHeaderValues...)
	for name, values := range given {
		if name = http.CanonicalHeaderKey(name); slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) && len(values) == 1 {
			r.Header.Set(name, values[0])
		}
	}
	if c.ServerIDHeaderValue != "" {
		_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
		list, _, _ = strings.Cut(list, ",")
		if r.Header.Get(serverIDHeader) != c.ServerIDHeaderValue || !slices.Contains(strings.Split(list, ";"), strings.ToLower(serverIDHeader)) {
			return nil, errors.New("the token's signed request is for another cluster, or its server id is not signed")
		}
	}
	return r, nil
}

// principal returns the ARN of the role or user that a caller acts as, and its name.
func principal(arn string) (role, name string) {
	before, path, _ := strings.Cut(arn, ":assumed-role/")
	if path == "" {
		parts := strings.Split(arn, "/")
		return arn, parts[len(parts)-1]
	}
	name, _, _ = strings.Cut(path, "/")
	return strings.Replace(before, ":sts:", ":iam:", 1) + ":role/" + name, name
}
