package server

import (
	"context"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/handler"
)

// noLogins refuses auth methods: nobody else is asked about those who log in yet.
type noLogins struct{}

var errNoLogins = catalog.Errorf(catalog.Unavailable, "auth methods are not there yet")

func (noLogins) Check(*catalog.AuthMethod) error                           { return errNoLogins }
func (noLogins) CheckRule(*catalog.AuthMethod, *catalog.BindingRule) error { return errNoLogins }
func (noLogins) Login(context.Context, *catalog.AuthMethod, string) (handler.Identity, error) {
	return nil, errNoLogins
}
func (noLogins) AuthURL(context.Context, *catalog.AuthMethod, *api.OIDCLogin) (string, error) {
	return "", errNoLogins
}
func (noLogins) Callback(context.Context, *catalog.AuthMethod, *api.OIDCLogin) (handler.Identity, error) {
	return nil, errNoLogins
}
