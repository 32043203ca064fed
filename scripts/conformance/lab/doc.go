// Package lab runs hosts on one machine, each with a network, a disk and processes of its own, and breaks them: it
// cuts, delays and loses what goes from one to the other, freezes and kills processes, and makes disks slow, full
// or faulty.
//
// A host is a network namespace and a mount namespace. Its only network device is a TUN device, and all of them end
// in this process, which carries packets from one to the other: so a fault of the network needs no queueing
// discipline and no firewall of the kernel. Its disk is a FUSE file system, also of this process, over a plain
// directory. Nothing of a host has a name outside: namespaces, devices and mounts end with the last process in them,
// the processes are killed by the kernel when this one ends, and so a crash leaves nothing behind. The machine's own
// network is never touched.
//
// Where the caller is not root, a host is an address of 127.0.0.0/8 and a directory. Then only processes can be
// broken; the other faults are refused with ErrNeedsRoot.
package lab
