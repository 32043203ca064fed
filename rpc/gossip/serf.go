package gossip

import (
	"log"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
)

const (
	// rawBacklog is what serf may be ahead of the pump. After Shutdown it must hold what serf's own goroutines still
	// send, or they would never end.
	rawBacklog = 256
	// serfProtocol and below it memberlist's are what Consul's agents report.
	serfProtocol = 4
	// eventWindow is over how many past user events and queries a node recognises a repetition. Each exchange of
	// state carries the window.
	eventWindow = 256
	// minQueueDepth and twice the number of members is where serf starts to drop broadcasts.
	minQueueDepth = 4096
)

func (p *Pool) serfConfig(trans memberlist.Transport, logger *log.Logger) *serf.Config {
	c, t := p.cfg, p.cfg.Timings
	ml := memberlist.DefaultLANConfig()
	ml.Name = c.Name
	ml.Transport = trans
	ml.BindAddr, ml.BindPort = c.Bind.Addr().String(), int(p.self.Port())
	ml.AdvertiseAddr, ml.AdvertisePort = p.self.Addr().String(), int(p.self.Port())
	ml.TCPTimeout = t.StreamTimeout
	ml.RetransmitMult, ml.SuspicionMult = t.RetransmitMult, t.SuspicionMult
	ml.PushPullInterval = t.PushPullInterval
	ml.ProbeInterval, ml.ProbeTimeout = t.ProbeInterval, t.ProbeTimeout
	ml.GossipInterval, ml.GossipNodes = t.GossipInterval, t.GossipNodes
	ml.GossipToTheDeadTime = t.PushPullInterval
	ml.DeadNodeReclaimTime = t.ReclaimAfter
	ml.GossipVerifyIncoming, ml.GossipVerifyOutgoing = !c.AcceptPlaintext, !c.SendPlaintext
	ml.CIDRsAllowed = ipNets(c.Allowed)
	ml.Logger = logger
	if p.ring != nil {
		ml.Keyring = p.ring.live
	}
	if c.Tune != nil {
		c.Tune(ml)
	}

	sc := &serf.Config{
		NodeName:               c.Name,
		Tags:                   c.Tags,
		EventCh:                p.raw,
		ProtocolVersion:        serfProtocol,
		BroadcastTimeout:       t.BroadcastTimeout,
		ReapInterval:           t.ReapInterval,
		ReconnectInterval:      t.ReconnectInterval,
		ReconnectTimeout:       t.ReconnectTimeout,
		TombstoneTimeout:       t.TombstoneTimeout,
		FlapTimeout:            time.Minute,
		RecentIntentTimeout:    5 * time.Minute,
		QueueCheckInterval:     30 * time.Second,
		QueueDepthWarning:      128,
		MinQueueDepth:          minQueueDepth,
		EventBuffer:            eventWindow,
		QueryBuffer:            eventWindow,
		QueryTimeoutMult:       16,
		QueryResponseSizeLimit: queryBytes,
		QuerySizeLimit:         queryBytes,
		UserEventSizeLimit:     c.UserEventSize + userEventEnvelope,
		MemberlistConfig:       ml,
		Logger:                 logger,
		SnapshotPath:           c.SnapshotFile,
		RejoinAfterLeave:       c.RejoinAfterLeave,
		DisableCoordinates:     c.NoCoordinates,
		Merge:                  gate{p},
		MetricLabels:           []metrics.Label{{Name: "network", Value: string(c.Kind)}},
		// The loser would end itself silently. The conflict is told as an event instead.
		EnableNameConflictResolution: false,
		// Leave waits by itself, where there is somebody to wait for.
		LeavePropagateDelay: 0,
	}
	if c.ReapAfter != nil {
		sc.ReconnectTimeoutOverride = reaper(c.ReapAfter)
	}
	return sc
}

// hideKeys makes serf believe that there are none, memberlist has them. Else its own key queries would go past our
// rules, and in a migration to encryption tell the keys to whoever asks. It must come before the first packet.
func hideKeys(c *serf.Config) {
	ml := *c.MemberlistConfig
	ml.Keyring = nil
	c.MemberlistConfig = &ml
}

// userEventEnvelope is what serf's encoding of a user event adds to name and payload; its limit includes it.
const userEventEnvelope = 64

func ipNets(prefixes []netip.Prefix) []net.IPNet {
	if len(prefixes) == 0 {
		return nil
	}
	nets := make([]net.IPNet, len(prefixes))
	for i, p := range prefixes {
		p = p.Masked()
		nets[i] = net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	}
	return nets
}

// stat is a counter that is also text.
type stat struct{ atomic.Uint64 }

func (s *stat) text() string { return strconv.FormatUint(s.Load(), 10) }
