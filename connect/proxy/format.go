package proxy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Format renders records of the access log as lines.
type Format struct{ parts []part }

// part appends something of a record. In JSON texts are in quotes.
type part func(b []byte, r *Record, quote bool) []byte

// DefaultText is the format of lines of text where none is set, and DefaultJSON that of JSON. What stands between percent
// signs is replaced: these are the names that Envoy has for such things, as far as they are known here.
// Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
const (
	DefaultText = `[%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`
	DefaultJSON = `{"start_time":"%START_TIME%","listener":"%LISTENER%","route_name":"%ROUTE_NAME%","method":"%REQ(:METHOD)%","path":"%REQ(:PATH)%","protocol":"%PROTOCOL%","response_code":"%RESPONSE_CODE%","response_flags":"%RESPONSE_FLAGS%","response_code_details":"%RESPONSE_CODE_DETAILS%","bytes_received":"%BYTES_RECEIVED%","bytes_sent":"%BYTES_SENT%","duration":"%DURATION%","upstream_service_time":"%RESPONSE_DURATION%","upstream_attempts":"%UPSTREAM_REQUEST_ATTEMPT_COUNT%","x_forwarded_for":"%REQ(X-FORWARDED-FOR)%","user_agent":"%REQ(USER-AGENT)%","request_id":"%REQ(X-REQUEST-ID)%","authority":"%REQ(:AUTHORITY)%","upstream_host":"%UPSTREAM_HOST%","upstream_cluster":"%UPSTREAM_CLUSTER%","downstream_remote_address":"%DOWNSTREAM_REMOTE_ADDRESS%","downstream_local_address":"%DOWNSTREAM_LOCAL_ADDRESS%","downstream_service":"%DOWNSTREAM_SERVICE%","trace_id":"%TRACE_ID%"}`
)

// NewText compiles a format of lines of text.
func NewText(text string) (*Format, error) {
	f := new(Format)
	return f, f.compile(text, false)
}

// NewJSON compiles a format that is an object of JSON, whose values are texts as those of NewText. A value that is one
// number and nothing else is one in the line too.
func NewJSON(text string) (*Format, error) {
	var fields map[string]string
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return nil, fmt.Errorf("access log: JSON format: want an object of texts: %w", err)
	}
	f := new(Format)
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		key, _ := json.Marshal(name)
		sep := ","
		if i == 0 {
			sep = "{"
		}
		f.literal(sep + string(key) + ":")
		op, single := strings.CutPrefix(fields[name], "%")
		op, closed := strings.CutSuffix(op, "%")
		if do := numbers[op]; do != nil && single && closed {
			f.parts = append(f.parts, do)
			continue
		}
		f.literal(`"`)
		if err := f.compile(fields[name], true); err != nil {
			return nil, err
		}
		f.literal(`"`)
	}
	if len(fields) == 0 {
		f.literal("{")
	}
	f.literal("}")
	return f, nil
}

func (f *Format) literal(text string) {
	f.parts = append(f.parts, func(b []byte, _ *Record, _ bool) []byte { return append(b, text...) })
}

func (f *Format) compile(text string, quote bool) error {
	for text != "" {
		before, rest, found := strings.Cut(text, "%")
		if before != "" {
			f.parts = append(f.parts, func(b []byte, _ *Record, _ bool) []byte {
				if quote {
					return appendQuoted(b, before)
				}
				return append(b, before...)
			})
		}
		if !found {
			return nil
		}
		op, after, closed := strings.Cut(rest, "%")
		if !closed {
			return fmt.Errorf("access log: format: %%%.40s has no second %%", rest)
		}
		do := operator(op)
		if do == nil {
			return fmt.Errorf("access log: format: %%%.40s%% is not known here", op)
		}
		f.parts = append(f.parts, func(b []byte, r *Record, _ bool) []byte {
			from := len(b)
			if b = do(b, r, quote); len(b) == from {
				b = append(b, '-')
			}
			return b
		})
		text = after
	}
	return nil
}

// Append appends the line of a record, with its end.
func (f *Format) Append(b []byte, r *Record) []byte {
	for _, do := range f.parts {
		b = do(b, r, false)
	}
	return append(b, '\n')
}

// operator is what replaces a name; nil for one that is not known.
func operator(name string) part {
	if do := numbers[name]; do != nil {
		return do
	}
	name, _, _ = strings.Cut(name, "?") // the alternative where a field is missing
	name = strings.TrimSuffix(name, ")")
	field, isField := strings.CutPrefix(name, "REQ(")
	if isField {
		name = "REQ " + strings.ToUpper(field)
	}
	of := texts[name]
	if of == nil {
		return nil
	}
	return func(b []byte, r *Record, _ bool) []byte { return appendQuoted(b, of(r)) }
}

// numbers are those that stand in JSON as they are.
var numbers = map[string]part{
	"RESPONSE_CODE":                  number(func(r *Record) int64 { return int64(r.Status) }),
	"BYTES_RECEIVED":                 number(func(r *Record) int64 { return r.There }),
	"BYTES_SENT":                     number(func(r *Record) int64 { return r.Back }),
	"DURATION":                       number(func(r *Record) int64 { return r.Took.Milliseconds() }),
	"RESPONSE_DURATION":              number(func(r *Record) int64 { return r.First.Milliseconds() }),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT": number(func(r *Record) int64 { return int64(r.Attempts) }),
}

func number(of func(*Record) int64) part {
	return func(b []byte, r *Record, _ bool) []byte { return strconv.AppendInt(b, of(r), 10) }
}

var texts = map[string]func(*Record) string{
	"START_TIME":                func(r *Record) string { return r.Begun.UTC().Format("2006-01-02T15:04:05.000Z") },
	"REQ :METHOD":               func(r *Record) string { return string(r.Method) },
	"REQ :PATH":                 func(r *Record) string { return string(r.Path) + string(r.Query) },
	"REQ X-ENVOY-ORIGINAL-PATH": func(r *Record) string { return string(r.Path) + string(r.Query) },
	"REQ :AUTHORITY":            func(r *Record) string { return string(r.Host) },
	"REQ USER-AGENT":            func(r *Record) string { return string(r.Agent) },
	"REQ X-REQUEST-ID":          func(r *Record) string { return string(r.ID) },
	"REQ X-FORWARDED-FOR":       func(r *Record) string { return string(r.Forwarded) },
	"PROTOCOL":                  func(r *Record) string { return r.Protocol },
	"RESPONSE_FLAGS":            (*Record).flags,
	"RESPONSE_CODE_DETAILS":     func(r *Record) string { return r.Flag },
	"LISTENER":                  func(r *Record) string { return r.Listener },
	"ROUTE_NAME":                func(r *Record) string { return r.Route },
	"UPSTREAM_HOST":             func(r *Record) string { return r.Endpoint },
	"UPSTREAM_CLUSTER":          func(r *Record) string { return r.Target },
	"DOWNSTREAM_SERVICE":        func(r *Record) string { return r.Caller },
	"DOWNSTREAM_REMOTE_ADDRESS": func(r *Record) string { return addrOf(r.Remote) },
	"DOWNSTREAM_LOCAL_ADDRESS":  func(r *Record) string { return addrOf(r.Local) },
	"TRACE_ID":                  func(r *Record) string { return r.Trace.String() },
}

func addrOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// flags are what Envoy calls these ends.
func (r *Record) flags() string {
	code := flagCodes[r.Flag]
	switch {
	case r.Spent && code == "":
		return "URX"
	case r.Spent:
		return code + ",URX"
	}
	return code
}

var flagCodes = map[string]string{
	flagMalformed: "DPE", flagDenied: "UAEX", flagToken: "UAEX", flagRate: "RL", flagNoTarget: "UH", flagConnect: "UF", flagOverflow: "UO", flagReset: "UC", flagSilent: "UC",
	flagResponse: "UPE", flagLate: "UT", flagGone: "DC", flagCut: "DC", flagFault: "FI",
}

// appendQuoted appends a text so that it can stand between quotes: of JSON, and in a line.
func appendQuoted(b []byte, text string) []byte {
	const digits = "0123456789abcdef"
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f: // bytes of whatever encoding
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
