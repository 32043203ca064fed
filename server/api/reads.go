package api

// reads are the verbs that change nothing.
var reads = func() map[string]bool {
	set := map[string]bool{}
	for _, name := range []string{
		AddressOwners.Name, AutopilotHealth.Name, AutopilotRead.Name, CAConfig.Name, CARoots.Name, ChainGet.Name, ConfigGet.Name, ConfigList.Name, ConfigListAll.Name,
		CoordinateDatacenters.Name, CoordinateNode.Name, CoordinateNodes.Name, Datacenters.Name, ExportSetList.Name, ExportSetRead.Name, ExportedServices.Name, ExternalNodes.Name, FederationList.Name, FederationGateways.Name,
		FederationRead.Name, GatewayIntentions.Name, GatewayLinks.Name, GatewayServices.Name, Gateways.Name, MeshServices.Name, HealthChecks.Name, HealthNode.Name, HealthService.Name,
		HealthState.Name, IntentionAuthorize.Name, IntentionCheck.Name, IntentionDefault.Name, IntentionGet.Name, IntentionList.Name, IntentionMatch.Name, JoinList.Name, KVKeys.Name, KVList.Name, KVRead.Name,
		NodeDump.Name, NodeServiceMap.Name, NodeServicesList.Name, Nodes.Name, PeeringList.Name, PeeringRead.Name, PeerTrust.Name, PeerServers.Name, QueryAbroad.Name, QueryAt.Name,
		QueryExecute.Name, QueryExplain.Name, QueryFailover.Name, QueryList.Name, QueryPlanned.Name, QueryRead.Name, RaftConfigurationRead.Name, ServiceDump.Name, ServiceInstances.Name,
		ServiceTopology.Name, Services.Name, SessionList.Name, SessionNode.Name, SessionRead.Name, StatusLeader.Name, StatusPeers.Name, TxnRead.Name,
		UsageRead.Name, VirtualRead.Name, ACLStatus.Name, ACLResolve.Name, ACLAuthorize.Name, TokenRead.Name, TokenSelf.Name, TokenList.Name,
		PolicyRead.Name, PolicyList.Name, RoleRead.Name, RoleList.Name, AuthMethodRead.Name, AuthMethodList.Name, BindingRuleRead.Name, BindingRuleList.Name,
		TemplateList.Name, TemplatePreview.Name, ReplicaKeys.Name, ReplicaRows.Name, KVCompare.Name, KVHashes.Name, KVRows.Name, KVCopyStatus.Name, FederationStatus.Name, PrimacyRead.Name,
	} {
		set[name] = true
	}
	return set
}()

// Reads reports whether a verb changes nothing, so that it can be asked again when the answer was lost.
func Reads(method string) bool { return reads[method] }
