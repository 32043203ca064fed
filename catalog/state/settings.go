package state

import "github.com/curia-mesh/curia/catalog"

// settingRow holds the one value of a cluster-wide setting.
type settingRow struct {
	Name      string
	Autopilot *catalog.AutopilotConfig
	CA        *catalog.CAConfig `codec:",omitempty" json:",omitempty"`
	CAKeys    *catalog.CAKeys   `codec:",omitempty" json:",omitempty"`
	Ruler     *catalog.Ruler    `codec:",omitempty" json:",omitempty"`
	Primacy   *catalog.Primacy  `codec:",omitempty" json:",omitempty"`
}

var settings = &table[settingRow]{
	name: "settings",
	of:   func(v *version) *rows[settingRow] { return &v.settings },
	keys: []func([]byte, *settingRow) []byte{
		primary: func(key []byte, r *settingRow) []byte { return joined(key, r.Name) },
	},
}

// Names of the settings.
const (
	autopilotSetting = "autopilot"
	caSetting        = "ca"
	caKeysSetting    = "ca-keys"
	rulerSetting     = "ruler"
	primacySetting   = "primacy"
)

// setting returns what is stored under a name, an empty row when nothing is.
func setting(tx *Txn, w *Watch, name string) settingRow {
	if row := settings.get(tx, w, primary, tx.key(name)); row != nil {
		return *row
	}
	return settingRow{}
}

// Autopilot returns autopilot's configuration, nil until the first leader has stored one.
func Autopilot(tx *Txn, w *Watch) *catalog.AutopilotConfig {
	return setting(tx, w, autopilotSetting).Autopilot
}

// SetAutopilot stores autopilot's configuration.
func SetAutopilot(tx *Txn, c *catalog.AutopilotConfig) {
	row := *c
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old := Autopilot(tx, nil); old != nil {
		row.CreateIndex = old.CreateIndex
	}
	settings.put(tx, &settingRow{Name: autopilotSetting, Autopilot: &row})
}

// SetAutopilotCAS stores it if its ModifyIndex is still cas and reports whether it did.
func SetAutopilotCAS(tx *Txn, c *catalog.AutopilotConfig, cas uint64) bool {
	old := Autopilot(tx, nil)
	if old == nil || old.ModifyIndex != cas {
		return false
	}
	SetAutopilot(tx, c)
	return true
}
