// Package runtime is what an application imports: a [Service] that has a name,
// serves RPCs on one port, and finds and calls other services by their names.
// By convention it is imported as xinhari.
//
// The same program runs on a laptop, where services find each other by mDNS
// on the loopback interface, and in a Kubernetes cluster, where they are found
// through the API; see [Profile]. There are no globals: a process and a test
// can have as many Services as they like.
//
// Connections are plaintext for now, and peers anonymous: in a cluster whoever
// reaches the port may call. On a laptop only the same machine does.
package runtime
