package v1alpha1

import "time"

// What omitted fields of a Topic and of a ConfigSource mean.
const (
	// DefaultTopicReplicas is on how many servers each message is stored.
	DefaultTopicReplicas int32 = 1
	// DefaultDedupeWindow is for how long a message ID is remembered.
	DefaultDedupeWindow = 2 * time.Minute
	// DefaultAckWait is how long a consumer may take for a message.
	DefaultAckWait = 30 * time.Second
	// DefaultMaxDeliver is how often a message is delivered.
	DefaultMaxDeliver int32 = 5
	// DefaultContentType is the media type of messages that bring none.
	DefaultContentType = "application/json"
	// DefaultHTTPRefresh is how often an HTTP layer is asked for changes.
	DefaultHTTPRefresh = 30 * time.Second
)

// EffectiveStorage returns where messages are kept.
func (s *TopicSpec) EffectiveStorage() TopicStorage {
	if s.Storage == "" {
		return TopicStorageFile
	}
	return s.Storage
}

// EffectiveDeletionPolicy returns what happens to the messages when the Topic is deleted.
func (s *TopicSpec) EffectiveDeletionPolicy() DeletionPolicy {
	if s.DeletionPolicy == "" {
		return DeletionPolicyRetain
	}
	return s.DeletionPolicy
}

// EffectiveBackoff returns the waits before the second and further deliveries; a nil delivery is all defaults.
func (d *TopicDelivery) EffectiveBackoff() []Duration {
	if d == nil || len(d.Backoff) == 0 {
		return []Duration{"1s", "5s", "30s"}
	}
	return d.Backoff
}
