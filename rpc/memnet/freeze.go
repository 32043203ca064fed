package memnet

// Freeze makes a host do nothing until Thaw, as a process that gets no CPU, seen from outside. The kernel goes on: it
// takes packets, up to as many as its buffer holds, and connections, and keeps them; nothing of it is read. What the
// host's goroutines send or dial meanwhile waits. Their timers do fire, since nothing can stop goroutines: what they
// decide is decided in time, from what was read before, and comes out late.
func (h *Host) Freeze() {
	h.net.change(func() { h.frozen = true })
}

// Thaw lets a frozen host go on: it finds what came meanwhile, and then sends what waited.
func (h *Host) Thaw() {
	var held []func()
	h.net.change(func() {
		h.frozen = false
		held, h.held = h.held, nil
	})
	for _, do := range held {
		do()
	}
}

// hold keeps what is to be done for the thaw, and tells whether the host is frozen. The caller holds net.mu.
func (h *Host) hold(do func()) bool {
	if h.frozen && len(h.held) < 2*packetBuffer {
		h.held = append(h.held, do)
	}
	return h.frozen
}

// awake reports whether the host is not frozen, and when to look again.
func (h *Host) awake() (bool, <-chan struct{}) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return !h.frozen, h.net.changed
}
