package sidecar

import (
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/proxy"
)

// tune gives a target what only the Config of proxy-defaults and of an upstream can say, the latter after the former:
//
//	per_try_timeout_ms   how long one attempt may take on routes with retries
//	slow_start_ms        how long an instance that is new takes to get its whole share
//	failure_accrual      failures in a row after which an instance rests for 1 s, doubled each time up to 60 s, and is then
//	                     tried with one request; in place of passive health checks
//	circuit_breaker      stops all requests to the upstream when error_percent (50) of at least volume (20) failed in
//	                     window_ms (10,000), for sleep_ms (5,000); then one request tries
func tune(t *proxy.Target, config map[string]any) {
	if v, found := config["per_try_timeout_ms"]; found {
		t.TryTimeout = millis(v)
	}
	if v, found := config["slow_start_ms"]; found {
		t.Balance.SlowStart = millis(v)
	}
	if v, found := config["failure_accrual"]; found {
		t.Balance.Outliers.Accrual = uint32(min(max(number(v), 0), maxAccrual))
	}
	if b, ok := config["circuit_breaker"].(map[string]any); ok {
		t.Breaker = &balance.BreakerPolicy{
			Window: millis(b["window_ms"]), Volume: int(min(max(number(b["volume"]), 0), maxVolume)), Percent: int(min(max(number(b["error_percent"]), 0), 100)), Sleep: millis(b["sleep_ms"]),
		}
	}
}

// Bounds of what makes sense.
const (
	maxAccrual = 1 << 20
	maxVolume  = 1 << 30
)
