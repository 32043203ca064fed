package httpapi

import (
	"context"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// hostInfo is what the machine tells about itself. What it does not tell is named in Errors.
type hostInfo struct {
	CPU            []cpu.InfoStat
	Disk           *disk.UsageStat
	Host           *host.InfoStat
	Memory         *mem.VirtualMemoryStat
	CollectionTime int64
	Errors         []string
}

func agentHost(c *call) error {
	ctx, cancel := context.WithTimeout(c.ctx(), hostTimeout)
	defer cancel()
	info := hostInfo{CollectionTime: time.Now().UnixNano()}
	keep := func(what string, err error) {
		if err != nil {
			info.Errors = append(info.Errors, what+": "+err.Error())
		}
	}
	var err error
	info.CPU, err = cpu.InfoWithContext(ctx)
	keep("cpu", err)
	info.Disk, err = disk.UsageWithContext(ctx, "/")
	keep("disk", err)
	info.Host, err = host.InfoWithContext(ctx)
	keep("host", err)
	info.Memory, err = mem.VirtualMemoryWithContext(ctx)
	keep("memory", err)
	return c.json(info)
}
