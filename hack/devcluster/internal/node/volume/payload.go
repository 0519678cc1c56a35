package volume

import (
	"context"
	"errors"
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"

	"github.com/xinhari/xinhari/hack/devcluster/internal/node/pod"
)

// Payload returns the files of a volume by their paths in it. It is an error
// that wraps pod.ErrMissing while something is missing that is not optional.
func Payload(ctx context.Context, p *corev1.Pod, v *corev1.Volume, sources Sources) (map[string]volumeutil.FileProjection, error) {
	files := payload{}
	var err error
	switch {
	case v.ConfigMap != nil:
		err = files.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, v.ConfigMap.DefaultMode, sources)
	case v.Secret != nil:
		err = files.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, v.Secret.DefaultMode, sources)
	case v.DownwardAPI != nil:
		err = files.downward(p, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode, sources)
	case v.Projected != nil:
		err = files.projected(ctx, p, v.Projected, sources)
	default:
		err = errors.New("its source is not known here")
	}
	if err != nil {
		return nil, err
	}
	return files, nil
}

type payload map[string]volumeutil.FileProjection

func (f payload) projected(ctx context.Context, p *corev1.Pod, v *corev1.ProjectedVolumeSource, sources Sources) error {
	mode := v.DefaultMode
	for _, s := range v.Sources {
		var err error
		switch {
		case s.ConfigMap != nil:
			err = f.configMap(s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, mode, sources)
		case s.Secret != nil:
			err = f.secret(s.Secret.Name, s.Secret.Items, s.Secret.Optional, mode, sources)
		case s.DownwardAPI != nil:
			err = f.downward(p, s.DownwardAPI.Items, mode, sources)
		case s.ServiceAccountToken != nil:
			err = f.token(ctx, s.ServiceAccountToken, mode, sources)
		default:
			err = errors.New("one of its sources is not known here")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f payload) token(ctx context.Context, s *corev1.ServiceAccountTokenProjection, mode *int32, sources Sources) error {
	seconds := int64(3600)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	token, err := sources.Tokens.Token(ctx, s.Audience, seconds)
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	f.add(s.Path, []byte(token), mode)
	return nil
}

func (f payload) configMap(name string, items []corev1.KeyToPath, optional *bool, mode *int32, sources Sources) error {
	object, err := sources.Objects.ConfigMap(name)
	if err != nil {
		return err
	}
	data := map[string][]byte{}
	if object != nil {
		for key, value := range object.Data {
			data[key] = []byte(value)
		}
		for key, value := range object.BinaryData {
			data[key] = value
		}
	}
	return f.keys("configmap", name, object != nil, data, items, optional, mode)
}

func (f payload) secret(name string, items []corev1.KeyToPath, optional *bool, mode *int32, sources Sources) error {
	object, err := sources.Objects.Secret(name)
	if err != nil {
		return err
	}
	var data map[string][]byte
	if object != nil {
		data = object.Data
	}
	return f.keys("secret", name, object != nil, data, items, optional, mode)
}

func (f payload) keys(kind, name string, exists bool, data map[string][]byte, items []corev1.KeyToPath, optional *bool, mode *int32) error {
	may := optional != nil && *optional
	if !exists {
		if may {
			return nil
		}
		return fmt.Errorf("%s %q: %w", kind, name, pod.ErrMissing)
	}
	if items == nil {
		for key, value := range data {
			f.add(key, value, mode)
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && may {
			continue
		}
		if !ok {
			return fmt.Errorf("key %q of %s %q: %w", item.Key, kind, name, pod.ErrMissing)
		}
		f.add(item.Path, value, firstMode(item.Mode, mode))
	}
	return nil
}

func (f payload) downward(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32, sources Sources) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = pod.Field(p, item.FieldRef.FieldPath, sources.Facts)
		case item.ResourceFieldRef != nil:
			value, err = pod.Resource(p, item.ResourceFieldRef.ContainerName, item.ResourceFieldRef, sources.Facts)
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", item.Path, err)
		}
		f.add(item.Path, []byte(value), firstMode(item.Mode, mode))
	}
	return nil
}

func (f payload) add(name string, data []byte, mode *int32) {
	f[path.Clean(name)] = volumeutil.FileProjection{Data: data, Mode: *firstMode(mode, nil)}
}

// firstMode is the first mode that is given, else the API's default.
func firstMode(modes ...*int32) *int32 {
	for _, mode := range modes {
		if mode != nil {
			return mode
		}
	}
	usual := int32(0o644)
	return &usual
}
