package catalog

import (
	"encoding/json"
	"hash/fnv"
	"reflect"
	"time"
)

// EntryKind says what a config entry configures.
type EntryKind string

// The kinds of config entries.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry
const (
	EntryServiceDefaults       EntryKind = "service-defaults"
	EntryProxyDefaults         EntryKind = "proxy-defaults"
	EntryServiceRouter         EntryKind = "service-router"
	EntryServiceSplitter       EntryKind = "service-splitter"
	EntryServiceResolver       EntryKind = "service-resolver"
	EntryServiceIntentions     EntryKind = "service-intentions"
	EntryJWTProvider           EntryKind = "jwt-provider"
	EntryMesh                  EntryKind = "mesh"
	EntryExportedServices      EntryKind = "exported-services"
	EntryTerminatingGateway    EntryKind = "terminating-gateway"
	EntryIngressGateway        EntryKind = "ingress-gateway"
	EntryAPIGateway            EntryKind = "api-gateway"
	EntryBoundAPIGateway       EntryKind = "bound-api-gateway"
	EntryHTTPRoute             EntryKind = "http-route"
	EntryTCPRoute              EntryKind = "tcp-route"
	EntryInlineCertificate     EntryKind = "inline-certificate"
	EntryFileSystemCertificate EntryKind = "file-system-certificate"
	EntrySamenessGroup         EntryKind = "sameness-group"
	EntryRequestLimit          EntryKind = "control-plane-request-limit"
	EntryKVReplication         EntryKind = "kv-replication" // ours
)

// The names of the entries that there is one of at most.
const (
	GlobalName = "global" // of proxy-defaults
	MeshName   = "mesh"   // of mesh
)

// Wildcard stands for every service in intentions, gateways and exports.
const Wildcard = "*"

// ConfigEntry is a piece of central configuration, told from others by kind and name. One that is stored
// does not change; Clone makes a copy that may.
type ConfigEntry interface {
	// Head is what all kinds have in common. It may be changed as long as the entry may.
	Head() *EntryHead
	// Normalize fills what a writer may leave out and computes what is derived. It changes the entry in
	// place, and a second call changes nothing.
	Normalize()
	// Validate checks a normalized entry by itself, without regard to others. Its errors have code
	// invalid and name the entry and the field.
	Validate() error
	// Clone is a deep copy.
	Clone() ConfigEntry
}

// EntryHead is what config entries of all kinds have in common.
type EntryHead struct {
	Kind EntryKind
	// Name is what the entry is about, for most kinds a service. The entry of kind mesh has none.
	Name string            `json:",omitempty"`
	Meta map[string]string `json:",omitempty"`
	// Hash of what the entry says, set by Normalize; 0 for those that the servers write themselves.
	Hash        uint64 `json:",omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

// Head implements ConfigEntry.
func (h *EntryHead) Head() *EntryHead { return h }

// Key is the name under which the entry is stored, unique within its kind.
func (h *EntryHead) Key() string {
	if h.Kind == EntryMesh {
		return MeshName
	}
	return h.Name
}

// String names the entry for people: service-defaults/web.
func (h *EntryHead) String() string { return string(h.Kind) + "/" + h.Key() }

// SameEntry reports whether two normalized entries say the same, their indexes and status left aside.
func SameEntry(a, b ConfigEntry) bool {
	if a.Head().Hash != b.Head().Hash {
		return false
	}
	return string(content(a)) == string(content(b))
}

// EntryHash is a hash of what a normalized entry says: of its JSON without indexes and status.
func EntryHash(e ConfigEntry) uint64 {
	h := fnv.New64a()
	h.Write(content(e))
	return h.Sum64()
}

// content is the JSON of an entry without its indexes, hash and status.
func content(e ConfigEntry) []byte {
	plain := e.Clone()
	h := plain.Head()
	h.Hash, h.CreateIndex, h.ModifyIndex = 0, 0, 0
	if s := StatusOf(plain); s != nil {
		*s = EntryStatus{}
	}
	b, err := json.Marshal(plain)
	if err != nil {
		panic("catalog: " + h.String() + " cannot be encoded: " + err.Error()) // it holds only what was decoded
	}
	return b
}

// clone is a deep copy of what e points to: of pointers, maps and slices as of values.
func clone[T any](e *T) *T {
	next := reflect.New(reflect.TypeFor[T]())
	next.Elem().Set(deepCopy(reflect.ValueOf(e).Elem()))
	return next.Interface().(*T)
}

func deepCopy(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		if v.IsNil() {
			return v
		}
	}
	next := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		next.Set(reflect.New(v.Type().Elem()))
		next.Elem().Set(deepCopy(v.Elem()))
	case reflect.Interface:
		next.Set(deepCopy(v.Elem()))
	case reflect.Map:
		next.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for key, value := range v.Seq2() {
			next.SetMapIndex(key, deepCopy(value))
		}
	case reflect.Slice:
		next.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			next.Index(i).Set(deepCopy(v.Index(i)))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return v
		}
		for i := range v.NumField() {
			next.Field(i).Set(deepCopy(v.Field(i)))
		}
	default:
		return v
	}
	return next
}
