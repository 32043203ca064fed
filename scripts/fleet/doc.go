// Package fleet simulates the gossip of many agents in one process: real pools of rpc/gossip over the network in
// memory of rpc/memnet, with loss and delay, in the virtual time of testing/synctest. It holds them against the
// goals G1 to G4 of the page "Reliability": those that are rates and times from 200 agents on, since of fewer one
// that is unlucky misses them. All of it is a test, since virtual time belongs to tests; scripts/sim runs it with
// the number of agents asked for and keeps its report.
package fleet
