package server

import "time"

// Notice is what Raft says when this server gains or loses the leadership.
func (s *Server) Notice(leading bool) { s.raft.elected <- leading }

// Plight says why there may be no leader.
func (s *Server) Plight() string { return s.doctor.plight() }

// Timers is how many sessions have their time kept.
func (s *Server) Timers() int { return s.sessions.count() }

// Stalled is how long a write seems to hang after looks at how long the one in progress has taken.
func Stalled(looks ...time.Duration) time.Duration {
	s := stall{}
	for _, writing := range looks {
		s.look(writing)
	}
	return s.lasts
}

// HangUp ends all connections that this server's Raft has made.
func (s *Server) HangUp() {
	s.raft.port.mu.Lock()
	defer s.raft.port.mu.Unlock()
	for c := range s.raft.port.conns {
		c.Conn.Close()
	}
}

// Meeting is where this server meets those of other clusters.
func (s *Server) Meeting() string { return s.peers.port.Addr().String() }
