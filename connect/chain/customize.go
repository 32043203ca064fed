package chain

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"
)

// hash tells sets of overrides apart, as eight digits; empty for none. Proxies that are configured from
// outside put it into names of theirs, so it is the hash that Consul's API gives: of the fields by name, in
// no order, each with its value.
// Source: https://pkg.go.dev/github.com/mitchellh/hashstructure and the examples at
// https://developer.hashicorp.com/consul/api-docs/discovery-chain
func (o *Overrides) hash() string {
	if o.MeshGateway.Mode == "" && o.Protocol == "" && o.ConnectTimeout == 0 {
		return ""
	}
	gateway := hashFields("MeshGatewayConfig", field{"Mode", hashText(o.MeshGateway.Mode)})
	sum := hashFields("",
		field{"OverrideMeshGateway", gateway},
		field{"OverrideProtocol", hashText(o.Protocol)},
		field{"OverrideConnectTimeout", hashNumbers(uint64(o.ConnectTimeout))},
	)
	digits := strconv.FormatUint(sum, 16)
	return digits[:min(8, len(digits))]
}

type field struct {
	name  string
	value uint64
}

func hashFields(title string, fields ...field) uint64 {
	all := hashText(title)
	for _, f := range fields {
		all ^= hashNumbers(hashText(f.name), f.value)
	}
	return all
}

func hashText(s string) uint64 {
	h := fnv.New64()
	h.Write([]byte(s))
	return h.Sum64()
}

func hashNumbers(numbers ...uint64) uint64 {
	h := fnv.New64()
	for _, n := range numbers {
		h.Write(binary.LittleEndian.AppendUint64(nil, n))
	}
	return h.Sum64()
}
