package authmethod

import (
	"cmp"
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
	"github.com/curia-mesh/curia/connect/fetch"
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
	defaultIAM     = "https://iam.amazonaws.com"
	serverIDHeader = "X-Consul-Iam-Serverid"
)

// Headers of the signed request that hold another one, which asks IAM about the entity.
const (
	entityMethodHeader  = "X-Consul-Iam-Getentity-Method"
	entityURLHeader     = "X-Consul-Iam-Getentity-Url"
	entityHeadersHeader = "X-Consul-Iam-Getentity-Headers"
	entityBodyHeader    = "X-Consul-Iam-Getentity-Body"
)

// maxTags is how many tags IAM lets an entity have.
const maxTags = 50

func readAWS(m *catalog.AuthMethod) (*awsConfig, error) {
	c := &awsConfig{}
	if err := settings(m, c); err != nil {
		return nil, err
	}
	c.STSEndpoint, c.IAMEndpoint = cmp.Or(c.STSEndpoint, defaultSTS), cmp.Or(c.IAMEndpoint, defaultIAM)
	switch {
	case len(c.BoundIAMPrincipalARNs) == 0:
		return nil, catalog.Errorf(catalog.Invalid, "Config: BoundIAMPrincipalARNs is empty: it names who may log in")
	case len(c.IAMEntityTags) > 0 && !c.EnableIAMEntityDetails:
		return nil, catalog.Errorf(catalog.Invalid, "Config: IAMEntityTags needs EnableIAMEntityDetails: tags are among the details")
	case len(c.IAMEntityTags) > maxTags:
		return nil, catalog.Errorf(catalog.Invalid, "Config: IAMEntityTags has %d tags: an entity has at most %d", len(c.IAMEntityTags), maxTags)
	}
	for _, arn := range c.BoundIAMPrincipalARNs {
		if strings.Contains(strings.TrimSuffix(arn, "*"), "*") || strings.TrimSuffix(arn, "*") == "" || strings.HasSuffix(arn, "*") && !strings.Contains(arn, "/") {
			return nil, catalog.Errorf(catalog.Invalid, "BoundIAMPrincipalARNs: %q: a * may only stand at the end, behind a /", arn)
		}
	}
	if err := fetch.CheckURL("IAMEndpoint", c.IAMEndpoint); err != nil {
		return nil, err
	}
	return c, fetch.CheckURL("STSEndpoint", c.STSEndpoint)
}

// entityFields is what selectors speak of, and detailedFields is it with EnableIAMEntityDetails.
type entityFields struct {
	Name    string `bexpr:"entity_name"`
	ID      string `bexpr:"entity_id"`
	Account string `bexpr:"account_id"`
}

type detailedFields struct {
	Name    string            `bexpr:"entity_name"`
	ID      string            `bexpr:"entity_id"`
	Account string            `bexpr:"account_id"`
	Path    string            `bexpr:"entity_path"`
	Tags    map[string]string `bexpr:"entity_tags"`
}

// entity is who has signed a request: a role or a user. Path and tags are those that IAM tells.
type entity struct {
	arn, name, id, account, path string
	tags                         map[string]string
}

// subject is the entity as binding rules see it. Tags that it does not have are empty.
func (c *awsConfig) subject(e *entity) *Subject {
	variables := map[string]string{"entity_name": e.name, "entity_id": e.id, "account_id": e.account}
	if !c.EnableIAMEntityDetails {
		return &Subject{&entityFields{e.name, e.id, e.account}, variables}
	}
	tags := map[string]string{}
	for _, key := range c.IAMEntityTags {
		tags[key], variables["entity_tags."+key] = e.tags[key], e.tags[key]
	}
	variables["entity_path"] = e.path
	return &Subject{&detailedFields{e.name, e.id, e.account, e.path, tags}, variables}
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
	body, given, err := c.signed(bearer)
	if err != nil {
		return nil, err
	}
	who, err := c.caller(ctx, body, given)
	if err != nil {
		return nil, err
	}
	if c.EnableIAMEntityDetails {
		if who, err = c.details(ctx, given, who); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(c.BoundIAMPrincipalARNs, func(bound string) bool {
		prefix, open := strings.CutSuffix(bound, "*")
		return who.arn == bound || open && strings.HasPrefix(who.arn, prefix)
	}) {
		return nil, fmt.Errorf("%s is not among the method's BoundIAMPrincipalARNs", who.arn)
	}
	return c.subject(who), nil
}

// caller asks STS who has signed.
func (c *awsConfig) caller(ctx context.Context, body string, given http.Header) (*entity, error) {
	answer, err := c.pass(ctx, c.STSEndpoint, body, given)
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
	id, _, _ := strings.Cut(caller.UserID, ":")
	return &entity{arn: arn, name: name, id: id, account: caller.Account}, nil
}

// details asks IAM about the entity that has signed, by the request in the headers of the one to STS. That must be signed
// with it, ask about this entity and no other, and IAM's answer be about the same.
func (c *awsConfig) details(ctx context.Context, given http.Header, who *entity) (*entity, error) {
	for _, name := range []string{entityMethodHeader, entityURLHeader, entityHeadersHeader, entityBodyHeader} {
		if given.Get(name) == "" || !isSigned(given, name) {
			return nil, errors.New("the token's signed request has no signed request about its entity: make it with that, for EnableIAMEntityDetails is set")
		}
	}
	asked := url.Values{"Action": {"GetRole"}, "RoleName": {who.name}, "Version": {"2010-05-08"}}
	if strings.Contains(who.arn, ":user/") {
		asked = url.Values{"Action": {"GetUser"}, "UserName": {who.name}, "Version": {"2010-05-08"}}
	}
	form, err := url.ParseQuery(given.Get(entityBodyHeader))
	if err != nil || given.Get(entityMethodHeader) != http.MethodPost || form.Encode() != asked.Encode() {
		return nil, fmt.Errorf("the token's request about its entity is another one than POST %s", asked.Encode())
	}
	inner := http.Header{}
	if err := json.Unmarshal([]byte(given.Get(entityHeadersHeader)), &inner); err != nil {
		return nil, errors.New("the headers of the token's request about its entity are no JSON")
	}
	answer, err := c.pass(ctx, c.IAMEndpoint, given.Get(entityBodyHeader), canonical(inner))
	if err != nil {
		return nil, err
	}
	type told struct {
		ARN    string                        `xml:"Arn"`
		Path   string                        `xml:"Path"`
		RoleID string                        `xml:"RoleId"`
		UserID string                        `xml:"UserId"`
		Tags   []struct{ Key, Value string } `xml:"Tags>member"`
	}
	found := struct {
		Role *told `xml:"GetRoleResult>Role"`
		User *told `xml:"GetUserResult>User"`
	}{}
	if err := xml.Unmarshal(answer, &found); err != nil {
		return nil, errors.New("IAM says nothing of who signed the request")
	}
	about, id := found.Role, ""
	if about != nil {
		id = about.RoleID
	} else if about = found.User; about != nil {
		id = about.UserID
	}
	if about == nil || id == "" || id != who.id || !strings.Contains(about.ARN, ":"+who.account+":") {
		return nil, errors.New("IAM speaks of another entity than the one that signed the request")
	}
	full := &entity{arn: about.ARN, name: who.name, id: id, account: who.account, path: about.Path, tags: map[string]string{}}
	for _, tag := range about.Tags[:min(len(about.Tags), maxTags)] {
		full.tags[tag.Key] = tag.Value
	}
	return full, nil
}

// signed returns the body and the headers of the signed request, which may ask for nothing but who its holder is.
func (c *awsConfig) signed(bearer string) (body string, given http.Header, err error) {
	signed := &signedRequest{}
	if err := json.Unmarshal([]byte(bearer), signed); err != nil {
		return "", nil, errors.New("the token is no signed request in JSON")
	}
	var text, headers []byte
	for from, to := range map[string]*[]byte{signed.Body: &text, signed.Headers: &headers} {
		if *to, err = base64.StdEncoding.DecodeString(from); err != nil {
			return "", nil, errors.New("the token's signed request is not in base64")
		}
	}
	form, err := url.ParseQuery(string(text))
	if err != nil || signed.Method != http.MethodPost || form.Encode() != callerBody.Encode() {
		return "", nil, errors.New("the token's signed request is another one than POST Action=GetCallerIdentity&Version=2011-06-15")
	}
	given = http.Header{}
	if err := json.Unmarshal(headers, &given); err != nil {
		return "", nil, errors.New("the headers of the token's signed request are no JSON")
	}
	given = canonical(given)
	if c.ServerIDHeaderValue != "" && (given.Get(serverIDHeader) != c.ServerIDHeaderValue || !isSigned(given, serverIDHeader)) {
		return "", nil, errors.New("the token's signed request is for another cluster, or its server id is not signed")
	}
	return string(text), given, nil
}

// canonical has the headers that stand there once, by the names that they have in Go.
func canonical(given http.Header) http.Header {
	out := http.Header{}
	for name, values := range given {
		if len(values) == 1 {
			out.Set(name, values[0])
		}
	}
	return out
}

// isSigned reports whether a header is among those that a request's signature is over.
func isSigned(given http.Header, name string) bool {
	_, list, _ := strings.Cut(given.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	return slices.Contains(strings.Split(list, ";"), strings.ToLower(name))
}

// pass makes a signed request at an endpoint of the configuration: where its holder would have it sent does not count.
func (c *awsConfig) pass(ctx context.Context, endpoint, body string, given http.Header) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(endpoint, "/")+"/", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	allowed := append([]string{
		"Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Security-Token", serverIDHeader,
		entityMethodHeader, entityURLHeader, entityHeadersHeader, entityBodyHeader,
	}, c.AllowedSTSHeaderValues...)
	for name, values := range given {
		if slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) {
			r.Header[name] = values
		}
	}
	return fetch.Do(fetch.Client(nil), r)
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
