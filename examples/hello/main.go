// Command hello is a service with one plain Go handler.
package main

import (
	"context"
	"log"

	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Message string `json:"message"`
}

func main() {
	svc, err := xinhari.New("hello", xinhari.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = rpc.Handle(svc, "Greeter/Hello", func(ctx context.Context, req *HelloRequest) (*HelloResponse, error) {
		return &HelloResponse{Message: "Hello " + req.Name}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
