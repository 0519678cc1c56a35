package main
import (
	_ "github.com/xinhari/xinhari/controllers/signer/issuer"
	_ "github.com/xinhari/xinhari/test/devcluster"
	_ "sigs.k8s.io/controller-runtime/pkg/client"
)
