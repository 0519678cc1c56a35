package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"k8s.io/client-go/rest"
)

// Profile is what a service runs in. It decides the defaults of Options.
type Profile string

const (
	// Local is a laptop: mDNS on the loopback interface, a free port of
	// 127.0.0.1, and nobody but the same machine is served.
	Local Profile = "local"

	// Kubernetes is a pod: the API server is asked, port 8080 is served to
	// the cluster and port 8081 has the probes.
	Kubernetes Profile = "kubernetes"

	// Test is all in memory; see package runtimetest.
	Test Profile = "test"
)

const (
	off            = "off"
	defaultAddress = ":8080"
	defaultAdmin   = ":8081"

	// accountFolder is where Kubernetes mounts a pod's token, CA and namespace.
	accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// decideProfile returns the profile and why it is that one.
func decideProfile(chosen Profile, getenv func(string) string) (Profile, string, error) {
	why := "Options.Profile"
	if chosen == "" {
		chosen, why = Profile(getenv("XINHARI_PROFILE")), "XINHARI_PROFILE"
	}
	switch chosen {
	case Local, Kubernetes, Test:
		return chosen, why + " is " + string(chosen), nil
	case "":
		if getenv("KUBERNETES_SERVICE_HOST") != "" {
			return Kubernetes, "KUBERNETES_SERVICE_HOST is set", nil
		}
		return Local, "neither XINHARI_PROFILE nor KUBERNETES_SERVICE_HOST is set", nil
	}
	return "", "", fmt.Errorf("xinhari: profile %q from %s: want %s, %s or %s", chosen, why, Local, Kubernetes, Test)
}

func (p Profile) address() string {
	if p == Kubernetes {
		return defaultAddress
	}
	return "127.0.0.1:0"
}

func (p Profile) adminAddress() string {
	if p == Kubernetes {
		return defaultAdmin
	}
	return off
}

func (p Profile) namespace(getenv func(string) string) (string, error) {
	if p != Kubernetes {
		return "default", nil
	}
	if getenv("KUBERNETES_SERVICE_HOST") == "" {
		return "", noCluster(rest.ErrNotInCluster)
	}
	data, err := os.ReadFile(accountFolder + "/namespace")
	if err != nil {
		return "", noCluster(err)
	}
	return strings.TrimSpace(string(data)), nil
}

// clusterConfig returns how to reach the API server from a pod.
func clusterConfig() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, noCluster(err)
	}
	return config, nil
}

// noCluster says what to do about a cluster that is expected and not there.
func noCluster(err error) error {
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return fmt.Errorf("xinhari: the kubernetes profile was asked for outside of a pod (%w): unset XINHARI_PROFILE, or set it to %s", err, Local)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("xinhari: this pod has no service account token (%w): remove automountServiceAccountToken: false from the pod and its "+
			"ServiceAccount, or set XINHARI_PROFILE=%s if no cluster is wanted", err, Local)
	}
	return fmt.Errorf("xinhari: the cluster's API server: %w", err)
}

// newLogger returns the logger that Options describe.
func newLogger(p Profile, level string) (*slog.Logger, error) {
	if level == off {
		return slog.New(slog.DiscardHandler), nil
	}
	var l slog.Level
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("xinhari: XINHARI_LOG=%q: want debug, info, warn, error or off", level)
		}
	}
	o := &slog.HandlerOptions{Level: l}
	if p == Kubernetes {
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
}
