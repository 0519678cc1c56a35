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
//
// # Life
//
// [Service.Run] is what a main calls; [Service.Start] and [Service.Close] stand
// beneath it, for Jobs and tests. A Service starts in this order: the admin
// port, its credentials, the BeforeStart hooks, the port for calls, the
// announcement, the AfterStart hooks, ready. It stops in this order: not ready,
// the BeforeStop hooks, taken out of service, GOAWAY, the calls in flight, the
// AfterStop hooks, its own connections. Hooks are added by
// [Service.BeforeStart] and the like, readiness checks by [Service.AddReadiness].
//
// Whether a service is ready is told by /readyz on the admin port, with
// ?verbose by the name of each check, and by gRPC health: for all ("") and for
// each registered service by its name. /healthz says that the process answers.
//
// main ends with log.Fatal(err), or with os.Exit([ExitCode](err)) where
// whoever started the program is to know more than that it failed.
package runtime
