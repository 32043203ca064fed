package handler

import (
	"github.com/curia-mesh/curia/catalog"
)

// fitRows returns the rows of a kind that can be stored, and why others cannot: the primary datacenter may run another
// version, or be in the wrong hands, and what is in the log must never harm those who apply it.
func fitRows(kind catalog.ReplicaKind, rows *catalog.ReplicaRows) (fit catalog.ReplicaRows, unfit []string) {
	switch kind {
	case catalog.ReplicaPolicies:
		fit.Policies, unfit = fitting(rows.Policies, fitPolicy)
	case catalog.ReplicaRoles:
		fit.Roles, unfit = fitting(rows.Roles, fitRole)
	case catalog.ReplicaTokens:
		fit.Tokens, unfit = fitting(rows.Tokens, fitToken)
	case catalog.ReplicaEntries:
		fit.Entries, unfit = fitting(rows.Entries, fitEntry)
	case catalog.ReplicaFederations:
		fit.Federations, unfit = fitting(rows.Federations, fitFederation)
	}
	if more := rows.Len() - fit.Len() - len(unfit); more > 0 {
		unfit = append(unfit, catalog.Errorf(catalog.Invalid, "%d rows are none of the kind %s that the primary was asked for", more, kind).Error())
	}
	return fit, unfit
}

func fitting[T any](rows []*T, check func(*T) error) (fit []*T, unfit []string) {
	for _, row := range rows {
		err := error(catalog.Errorf(catalog.Invalid, "an empty row"))
		if row != nil {
			err = check(row)
		}
		if err != nil {
			unfit = append(unfit, err.Error())
			continue
		}
		fit = append(fit, row)
	}
	return fit, unfit
}

func fitPolicy(p *catalog.Policy) error {
	_, err := checkPolicy(p)
	return err
}

func fitRole(r *catalog.Role) error {
	if err := catalog.ValidateID("role id", r.ID); err != nil {
		return err
	}
	return r.Validate()
}

func fitToken(t *catalog.Token) error {
	switch {
	case t.Local:
		return catalog.Errorf(catalog.Invalid, "token %s: it is local to the primary datacenter", t.AccessorID)
	case t.SecretID == "":
		return catalog.Errorf(catalog.Invalid, "token %s: it has no secret", t.AccessorID)
	}
	return t.Validate()
}

func fitEntry(a *catalog.AnyEntry) error {
	e := a.Entry()
	if e == nil {
		return catalog.Errorf(catalog.Invalid, "a config entry of a kind that this version does not know: update the servers of this datacenter")
	}
	kind := a.Kind()
	if err := refuseInternal(kind); err != nil {
		return err
	}
	if named := e.Head().Kind; named != kind {
		return catalog.Errorf(catalog.Invalid, "%s: it is called a %s", kind, named)
	}
	e = e.Clone()
	e.Normalize()
	if err := e.Validate(); err != nil {
		return err
	}
	return validateFilters(e)
}

func fitFederation(f *catalog.FederationState) error {
	if f.Datacenter == "" {
		return catalog.Errorf(catalog.Invalid, "federation state: its Datacenter is missing")
	}
	return nil
}
