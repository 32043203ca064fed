package sidecar

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/proxy"
)

// The config of an upstream counts before that of proxy-defaults, and nonsense is bounded.
func TestTune(t *testing.T) {
	var to proxy.Target
	for _, text := range []string{
		`{"per_try_timeout_ms": 250, "slow_start_ms": 10000, "circuit_breaker": {"error_percent": 30, "volume": 5, "window_ms": 2000, "sleep_ms": 500}}`,
		`{"per_try_timeout_ms": 100, "failure_accrual": 7, "circuit_breaker": {"error_percent": 1e9, "volume": -4}, "slow_start_ms": "x"}`,
	} {
		var config map[string]any
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		tune(&to, config)
	}
	if to.TryTimeout != 100*time.Millisecond || to.Balance.SlowStart != 0 || to.Balance.Outliers.Accrual != 7 {
		t.Errorf("%+v", to)
	}
	if want := (balance.BreakerPolicy{Percent: 100}); *to.Breaker != want {
		t.Errorf("%+v, want %+v", *to.Breaker, want)
	}
}
