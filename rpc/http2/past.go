package http2

// pastStreams are the streams that ended last, as far as they are remembered: what comes of them may still be under way
// when they were reset here, and is against the rules when both sides had ended.
type pastStreams struct {
	ids   [256]uint32
	was   [256]bool // reset here
	count int
}

func (p *pastStreams) add(id uint32, reset bool) {
	i := p.count % len(p.ids)
	p.ids[i], p.was[i] = id, reset
	p.count++
}

// find reports whether a stream has ended, and whether it was reset here.
func (p *pastStreams) find(id uint32) (known, reset bool) {
	for i, k := range p.ids[:min(p.count, len(p.ids))] {
		if k == id {
			return true, p.was[i]
		}
	}
	return false, false
}

func (p *pastStreams) reset(id uint32) bool {
	_, reset := p.find(id)
	return reset
}
