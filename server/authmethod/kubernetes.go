package authmethod

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/fetch"
)

// kubernetesConfig is the Config of the type kubernetes.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/auth-method/k8s
type kubernetesConfig struct {
	Host              string
	CACert            string
	ServiceAccountJWT string

	roots *x509.CertPool
}

func readKubernetes(m *catalog.AuthMethod) (*kubernetesConfig, error) {
	c := &kubernetesConfig{}
	if err := settings(m, c); err != nil {
		return nil, err
	}
	if c.Host == "" || c.CACert == "" || c.ServiceAccountJWT == "" {
		return nil, catalog.Errorf(catalog.Invalid, "Config: set Host, CACert and ServiceAccountJWT")
	}
	if !strings.HasPrefix(c.Host, "https://") {
		return nil, catalog.Errorf(catalog.Invalid, "Host %q: want https://host:port", c.Host)
	}
	if err := fetch.CheckURL("Host", c.Host); err != nil {
		return nil, err
	}
	var err error
	c.roots, err = fetch.Pool("CACert", c.CACert)
	return c, err
}

// accountFields is what selectors speak of.
type accountFields struct {
	ServiceAccount serviceAccount `bexpr:"serviceaccount"`
}

type serviceAccount struct {
	Namespace string `bexpr:"namespace"`
	Name      string `bexpr:"name"`
	UID       string `bexpr:"uid"`
}

func account(namespace, name, uid string) *Subject {
	return &Subject{&accountFields{serviceAccount{namespace, name, uid}}, map[string]string{
		"serviceaccount.namespace": namespace, "serviceaccount.name": name, "serviceaccount.uid": uid,
	}}
}

// tokenReview asks Kubernetes whose token one is.
// Source: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
type tokenReview struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Spec       tokenReviewSpec   `json:"spec"`
	Status     tokenReviewStatus `json:"status"`
}

type tokenReviewSpec struct {
	Token string `json:"token"`
}

type tokenReviewStatus struct {
	Authenticated bool   `json:"authenticated"`
	Error         string `json:"error"`
	User          struct {
		Username string `json:"username"`
		UID      string `json:"uid"`
	} `json:"user"`
}

// nameAnnotation of a service account is its name to binding rules.
const nameAnnotation = "consul.hashicorp.com/service-name"

func loginKubernetes(ctx context.Context, m *catalog.AuthMethod, bearer string) (*Subject, error) {
	c, err := readKubernetes(m)
	if err != nil {
		return nil, err
	}
	review := &tokenReview{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview", Spec: tokenReviewSpec{bearer}}
	if err := c.ask(ctx, http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", review, review); err != nil {
		return nil, err
	}
	if !review.Status.Authenticated || review.Status.Error != "" {
		return nil, errors.New("the API server of Kubernetes does not know the token")
	}
	parts := strings.Split(review.Status.User.Username, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" {
		return nil, errors.New("the token is not that of a service account")
	}
	namespace, name := parts[2], parts[3]
	about := struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}{}
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/serviceaccounts/" + url.PathEscape(name)
	if err := c.ask(ctx, http.MethodGet, path, nil, &about); err != nil {
		return nil, err
	}
	if given := about.Metadata.Annotations[nameAnnotation]; given != "" {
		name = given
	}
	return account(namespace, name, review.Status.User.UID), nil
}

// ask makes a request to the API server of Kubernetes.
func (c *kubernetesConfig) ask(ctx context.Context, method, path string, send, into any) error {
	var body []byte
	if send != nil {
		var err error
		if body, err = json.Marshal(send); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Host, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.ServiceAccountJWT)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	answer, err := fetch.Do(fetch.Client(c.roots), r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return catalog.Errorf(catalog.Unavailable, "%s answers no JSON of the right form: %w", r.URL.Host, err)
	}
	return nil
}
