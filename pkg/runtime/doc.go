// Package runtime is what an application imports: a [Service] that has a name,
// serves RPCs on one port, and finds and calls other services by their names.
// By convention it is imported as xinhari.
//
// The same program runs on a laptop, where services find each other by mDNS
// on the loopback interface, and in a Kubernetes cluster, where they are found
// through the API; see [Profile]. There are no globals: a process and a test
// can have as many Services as they like.
//
// Connections are mutual TLS with the identity of the service's account, and
// handlers learn who calls from identity.PeerFromContext. In a cluster a caller
// without a certificate is refused, unless the Service's spec.identity.mode is
// Permissive; on a laptop it is served, as nobody, when it is on the same
// machine: curl and grpcurl need no set-up.
package runtime
