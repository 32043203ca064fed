package telemetry

import (
	"context"
	"errors"
	"fmt"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// hostStats emits the gauges of enable_host_metrics. Inside a container they tell of the machine around it.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry#server-host-metrics
type hostStats struct {
	dataDir string
	before  map[string]cpu.TimesStat
}

// collect emits what can be read and returns what cannot.
func (h *hostStats) collect(ctx context.Context, m *metrics.Metrics) error {
	gauge := func(v float64, labels []metrics.Label, name ...string) {
		m.SetPrecisionGaugeWithLabels(append([]string{"host"}, name...), v, labels)
	}
	var errs []error
	if vm, err := mem.VirtualMemoryWithContext(ctx); err != nil {
		errs = append(errs, fmt.Errorf("memory: %w", err))
	} else {
		gauge(float64(vm.Total), nil, "memory", "total")
		gauge(float64(vm.Available), nil, "memory", "available")
		gauge(float64(vm.Free), nil, "memory", "free")
		gauge(float64(vm.Used), nil, "memory", "used")
		gauge(vm.UsedPercent, nil, "memory", "used_percent")
	}
	if h.dataDir != "" {
		if du, err := disk.UsageWithContext(ctx, h.dataDir); err != nil {
			errs = append(errs, fmt.Errorf("disk of %s: %w", h.dataDir, err))
		} else {
			path := []metrics.Label{{Name: "path", Value: h.dataDir}}
			gauge(float64(du.Total), path, "disk", "size")
			gauge(float64(du.Used), path, "disk", "used")
			gauge(float64(du.Free), path, "disk", "available")
			gauge(du.UsedPercent, path, "disk", "used_percent")
			gauge(du.InodesUsedPercent, path, "disk", "inodes_percent")
		}
	}
	if up, err := host.UptimeWithContext(ctx); err != nil {
		errs = append(errs, fmt.Errorf("uptime: %w", err))
	} else {
		gauge(float64(up), nil, "uptime")
	}
	errs = append(errs, h.collectCPU(ctx, gauge))
	return errors.Join(errs...)
}

// collectCPU emits utilisations in per cent since the last call, of every CPU and of all together ("cpu-total"). The
// first call has nothing to compare with and emits none.
func (h *hostStats) collectCPU(ctx context.Context, gauge func(float64, []metrics.Label, ...string)) error {
	each, err := cpu.TimesWithContext(ctx, true)
	all, err2 := cpu.TimesWithContext(ctx, false)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("cpu: %w", err)
	}
	now := make(map[string]cpu.TimesStat, len(each)+1)
	for _, t := range append(each, all...) {
		now[t.CPU] = t
		b, ok := h.before[t.CPU]
		spent := busy(t) + t.Idle - busy(b) - b.Idle
		if !ok || spent <= 0 {
			continue
		}
		percent := func(seconds float64) float64 { return max(0, min(100*seconds/spent, 100)) }
		which := []metrics.Label{{Name: "cpu", Value: t.CPU}}
		gauge(percent(t.User-b.User), which, "cpu", "user")
		gauge(percent(t.System-b.System), which, "cpu", "system")
		gauge(percent(t.Iowait-b.Iowait), which, "cpu", "iowait")
		gauge(percent(t.Idle-b.Idle), which, "cpu", "idle")
		gauge(percent(busy(t)-busy(b)), which, "cpu", "total")
	}
	h.before = now
	return nil
}

// busy is all time but the idle one. Time of guests is part of User and Nice already.
func busy(t cpu.TimesStat) float64 {
	return t.User + t.System + t.Nice + t.Iowait + t.Irq + t.Softirq + t.Steal
}
