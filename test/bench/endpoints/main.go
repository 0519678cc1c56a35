// Command endpoints measures how soon a change of a service's pods reaches
// its callers, in a cluster that it is run in: it installs the operator and
// the shop, has a pod call inventory 1000 times a second through the runtime,
// adds and removes pods of inventory, and compares when this process saw the
// pod and its EndpointSlice change with when calls began and ceased to be
// answered by that pod. It then compares the memory of two pods: of a program
// that links the runtime, and of one that is bare grpc-go.
//
// It needs kubectl and helm on PATH, and KUBECONFIG; its own program is the
// prober's image:
//
//	devcluster run --images bin -- bin/endpoints
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	namespace         = "shop"
	operatorNamespace = "xinhari-system"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		exit(probe(ctx))
	}
	chart := flag.String("chart", "charts/xinhari", "folder of the operator's chart")
	manifests := flag.String("manifests", "examples/shop/deploy", "folder of the shop's manifests")
	rounds := flag.Int("rounds", 5, "times to scale up, delete a pod and scale down; 0 for the memory only")
	format := flag.String("o", "table", "output: table, markdown or json")
	flag.Parse()
	write, ok := writers()[*format]
	if !ok || *rounds < 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(*rounds)*time.Minute)
	defer cancel()
	r, err := run(ctx, *chart, *manifests, *rounds)
	if err == nil {
		err = write(r, os.Stdout)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "endpoints:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
