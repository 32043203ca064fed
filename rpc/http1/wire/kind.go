package wire

// Kind tells the fields apart that say how a message goes on, or that somebody between client and server acts on.
type Kind uint8

// The kinds of fields.
const (
	Other Kind = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	Expect
	KeepAlive
	ProxyConnection
	TE
	Trailer
	Upgrade
	HTTP2Settings
	Forwarded       // RFC 7239
	ForwardedFor    // X-Forwarded-For
	ForwardedHost   // X-Forwarded-Host
	ForwardedPort   // X-Forwarded-Port
	ForwardedProto  // X-Forwarded-Proto
	ForwardedPrefix // X-Forwarded-Prefix
	RealIP          // X-Real-Ip
	ClientCert      // X-Forwarded-Client-Cert
	Authorization
	ProxyAuthorization
	Cookie
	ContentType
	Timeout     // grpc-timeout, X-Curia-Timeout
	TraceParent // W3C Trace Context
	B3          // b3, X-B3-*
	Unsent      // X-Curia-Unsent
)

// KindOf is the kind of a field with this name, in whatever case.
func KindOf(name []byte) Kind {
	switch len(name) {
	case 2:
		if k := either(name, "te", TE); k != Other {
			return k
		}
		return either(name, "b3", B3)
	case 4:
		return either(name, "host", Host)
	case 6:
		if k := either(name, "expect", Expect); k != Other {
			return k
		}
		return either(name, "cookie", Cookie)
	case 7:
		if k := either(name, "upgrade", Upgrade); k != Other {
			return k
		}
		return either(name, "trailer", Trailer)
	case 9:
		if k := either(name, "forwarded", Forwarded); k != Other {
			return k
		}
		return either(name, "x-real-ip", RealIP)
	case 10:
		if k := either(name, "connection", Connection); k != Other {
			return k
		}
		if k := either(name, "keep-alive", KeepAlive); k != Other {
			return k
		}
		return either(name, "x-b3-flags", B3)
	case 11:
		if k := either(name, "traceparent", TraceParent); k != Other {
			return k
		}
		return either(name, "x-b3-spanid", B3)
	case 12:
		if k := either(name, "content-type", ContentType); k != Other {
			return k
		}
		if k := either(name, "grpc-timeout", Timeout); k != Other {
			return k
		}
		if k := either(name, "x-b3-traceid", B3); k != Other {
			return k
		}
		return either(name, "x-b3-sampled", B3)
	case 13:
		return either(name, "authorization", Authorization)
	case 14:
		if k := either(name, "content-length", ContentLength); k != Other {
			return k
		}
		if k := either(name, "http2-settings", HTTP2Settings); k != Other {
			return k
		}
		return either(name, "x-curia-unsent", Unsent)
	case 15:
		if k := either(name, "x-forwarded-for", ForwardedFor); k != Other {
			return k
		}
		return either(name, "x-curia-timeout", Timeout)
	case 16:
		if k := either(name, "proxy-connection", ProxyConnection); k != Other {
			return k
		}
		if k := either(name, "x-forwarded-host", ForwardedHost); k != Other {
			return k
		}
		return either(name, "x-forwarded-port", ForwardedPort)
	case 17:
		if k := either(name, "transfer-encoding", TransferEncoding); k != Other {
			return k
		}
		if k := either(name, "x-forwarded-proto", ForwardedProto); k != Other {
			return k
		}
		return either(name, "x-b3-parentspanid", B3)
	case 18:
		return either(name, "x-forwarded-prefix", ForwardedPrefix)
	case 19:
		return either(name, "proxy-authorization", ProxyAuthorization)
	case 23:
		return either(name, "x-forwarded-client-cert", ClientCert)
	}
	return Other
}

func either(name []byte, lower string, k Kind) Kind {
	if Same(name, lower) {
		return k
	}
	return Other
}
