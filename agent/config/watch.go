package config

import (
	"errors"
	"fmt"
)

// validate checks that w names a type, what that type needs, and one handler.
func (w *Watch) validate() error {
	needs := map[string]string{
		"key": w.Key, "keyprefix": w.Prefix, "service": w.Service, "connect_leaf": w.Service, "agent_service": w.ServiceID,
	}
	field := map[string]string{
		"key": "key", "keyprefix": "prefix", "service": "service", "connect_leaf": "service", "agent_service": "service_id",
	}
	switch w.Type {
	case "":
		return errors.New("set type")
	case "key", "keyprefix", "service", "connect_leaf", "agent_service":
		if needs[w.Type] == "" {
			return fmt.Errorf("type %s needs %s", w.Type, field[w.Type])
		}
	case "services", "nodes", "checks", "event", "connect_roots":
	default:
		return fmt.Errorf("%q is no type: want key, keyprefix, services, nodes, service, checks, event, connect_roots, connect_leaf or agent_service", w.Type)
	}
	handlers := 0
	for _, set := range []bool{w.Handler != "", len(w.Args) > 0, w.HTTPHandler.Path != ""} {
		if set {
			handlers++
		}
	}
	if handlers != 1 {
		return fmt.Errorf("has %d handlers: set one of args and http_handler_config.path", handlers)
	}
	switch w.HandlerType {
	case "", "script", "http":
		return nil
	}
	return fmt.Errorf("handler_type %q is neither script nor http", w.HandlerType)
}
