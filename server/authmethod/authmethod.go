// Package authmethod asks others about those who log in: it verifies JWTs, sends browsers to OpenID providers, and asks
// Kubernetes and AWS whose token one is.
package authmethod

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Service asks others. It is safe for many goroutines.
type Service struct {
	mu     sync.Mutex
	keys   map[string]*keySet // by what says where they are
	logins map[string]*login  // with a browser, by state
}

// New returns a service that has asked nobody yet.
func New() *Service {
	return &Service{keys: map[string]*keySet{}, logins: map[string]*login{}}
}

// Subject is who logs in, as binding rules see it.
type Subject struct {
	// Fields is what selectors speak of.
	Fields any
	// Variables are what names may hold.
	Variables map[string]string
}

// maxBearer bounds a bearer token, in bytes.
const maxBearer = 64 << 10

// Check refuses the settings of an auth method with code invalid. It asks nobody.
func (s *Service) Check(m *catalog.AuthMethod) error {
	_, err := s.Blank(m)
	return err
}

// Blank returns a subject with every field and variable that the auth method's have, to check rules against.
func (s *Service) Blank(m *catalog.AuthMethod) (*Subject, error) {
	var blank *Subject
	var err error
	switch m.Type {
	case catalog.AuthJWT, catalog.AuthOIDC:
		var c *jwtConfig
		if c, err = readJWT(m); err == nil {
			blank = c.subject(nil)
		}
	case catalog.AuthKubernetes:
		if _, err = readKubernetes(m); err == nil {
			blank = account("", "", "")
		}
	case catalog.AuthAWS:
		var c *awsConfig
		if c, err = readAWS(m); err == nil {
			blank = c.subject(&entity{})
		}
	default:
		err = catalog.Errorf(catalog.Invalid, "unknown type %q", m.Type)
	}
	if err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "auth method %s: %w", m.Name, err)
	}
	return blank, nil
}

// Login returns whom a bearer token belongs to, an error with code denied when it is not good. It blocks for as long as
// others take, at most some seconds.
func (s *Service) Login(ctx context.Context, m *catalog.AuthMethod, bearer string) (*Subject, error) {
	if bearer == "" || len(bearer) > maxBearer {
		return nil, catalog.Errorf(catalog.Invalid, "login: BearerToken has %d bytes, want 1 to %d", len(bearer), maxBearer)
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	var who *Subject
	var err error
	switch m.Type {
	case catalog.AuthJWT:
		who, err = s.loginJWT(ctx, m, bearer)
	case catalog.AuthKubernetes:
		who, err = loginKubernetes(ctx, m, bearer)
	case catalog.AuthAWS:
		who, err = loginAWS(ctx, m, bearer)
	default:
		err = catalog.Errorf(catalog.Invalid, "its type %s takes no bearer token", m.Type)
	}
	if err != nil {
		return nil, refusal(m, err)
	}
	return who, nil
}

// loginTime bounds a login, with all that others are asked.
const loginTime = 20 * time.Second

// refusal is why a login fails: denied, unless the error has a code of its own.
func refusal(m *catalog.AuthMethod, err error) error {
	code := catalog.CodeOf(err)
	if code == catalog.Internal {
		code = catalog.Denied
	}
	return catalog.Errorf(code, "Permission denied: login by auth method %s: %w", m.Name, err)
}

// settings reads the Config of an auth method into a struct. A key that is none is refused.
func settings(m *catalog.AuthMethod, into any) error {
	text, err := json.Marshal(m.Config)
	if err != nil {
		return catalog.Errorf(catalog.Invalid, "Config: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return catalog.Errorf(catalog.Invalid, "Config: %w", err)
	}
	return nil
}
