// Package decode turns loosely written JSON and HCL into the nouns.
//
// Field names match without regard to case or underscores (service_id, ServiceID and serviceid are one
// field); the keys of maps such as Meta and Header are left alone. A name that is written twice counts as
// often as it is written: the last one wins, as in encoding/json, and a list is replaced.
//
// There is one engine. It walks the JSON once beside the shape of the target type, renames keys that
// encoding/json would not find, writes durations as numbers where the field is a plain time.Duration, and
// hands the result to encoding/json. JSON that needs none of that is handed over as it came, without a
// copy. HCL and maps are written as JSON first.
//
// A type with an UnmarshalJSON or UnmarshalText of its own is left to itself.
package decode
