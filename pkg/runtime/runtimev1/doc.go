// Package runtimev1 is the service xinhari.runtime.v1.Runtime, which every
// workload serves to people and tools. Its Go code is generated from
// runtime.proto.
package runtimev1
