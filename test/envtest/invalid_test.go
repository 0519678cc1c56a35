package envtest

// invalidObject is refused with a message that contains want.
type invalidObject struct {
	object
	want string
}

// invalidObjects are refused. There is one at least for every validation rule of the CRDs; a test holds that.
func invalidObjects() []invalidObject {
	refused := func(kind, name, spec, want string) invalidObject {
		return invalidObject{object: object{name: name, kind: kind, spec: spec}, want: want}
	}
	named := func(kind, as, spec, want string) invalidObject {
		return invalidObject{object: object{name: "the name " + as, kind: kind, as: as, spec: spec}, want: want}
	}
	const (
		service = "Service"
		rule    = "AccessRule"
		config  = "ConfigSource"
		topic   = "Topic"
		id      = "spiffe://cluster.local/ns/shop/sa/inventory"
	)
	endpoint := func(fields string) string {
		return "endpoints: [{" + fields + "}]"
	}
	from := func(item string) string {
		return "action: Allow\nfrom: [" + item + "]\nto: [{service: {name: a, methods: ['*']}}]"
	}
	to := func(item string) string {
		return "action: Allow\nfrom: [{anyone: Authenticated}]\nto: [" + item + "]"
	}
	layer := func(fields string) string {
		return "layers: [{name: a, " + fields + "}]"
	}
	return []invalidObject{
		named(service, "dotted.name", `selector: {app: a}`, "metadata.name becomes a DNS label"),
		named(service, "a--b", `selector: {app: a}`, "metadata.name becomes a DNS label"),
		named(service, "1st", `selector: {app: a}`, "metadata.name becomes a DNS label"),
		named(service, "a23456789-123456789-123456789-123456789-123456789-123456789",
			"selector: {app: a}\nversions: [{name: v10, selector: {v: a}, weight: 1}]", "shorten the name of the Service or of the version"),
		refused(service, "no spec fields", `{}`, "nothing says where the instances are"),
		refused(service, "only serviceAccountName", `serviceAccountName: a`, "nothing says where the instances are"),
		refused(service, "an empty selector", `selector: {}`, "should have at least 1 properties"),
		refused(service, "an identity of nothing", "selector: {a: b}\nidentity: {}", "should have at least 1 properties"),
		refused(service, "a mistyped default alone", "selector: {a: b}\naccess: {}", "should have at least 1 properties"),
		refused(service, "a label key that is none", `selector: {"a b": c}`, "mend the key"),
		refused(service, "a label value that is none", `selector: {app: "a b"}`, "spec.selector.app"),
		refused(service, "a client with a selector", "clientOnly: true\nselector: {app: a}", "clientOnly is for workloads that are never called"),
		refused(service, "a client with ports", "clientOnly: true\nports: [{name: a, port: 1}]", "clientOnly is for workloads that are never called"),
		refused(service, "versions of nothing", "coreService: Existing\nversions: [{name: v1, selector: {a: b}, weight: 1}]", "set selector as well"),
		refused(service, "a version that no pod can be", "selector: {a: b}\nversions: [{name: v1, selector: {a: c}, weight: 1}]", "no pod can have two values of one label"),
		refused(service, "versions and endpoints", "selector: {a: b}\nversions: [{name: v1, selector: {a: b}, weight: 1}]\n"+
			endpoint(`address: 192.0.2.1, port: 1, tls: {spiffeID: "`+id+`"}`), "give them a Service of their own"),
		refused(service, "two ports and endpoints", "ports: [{name: a, port: 1}, {name: b, port: 2}]\n"+
			endpoint(`address: 192.0.2.1, port: 1, tls: {spiffeID: "`+id+`"}`), "an endpoint has one port"),
		refused(service, "endpoints of someone else's", "coreService: Existing\n"+
			endpoint(`address: 192.0.2.1, port: 1, tls: {spiffeID: "`+id+`"}`), "someone else owns"),
		refused(service, "two ports of one number", "selector: {a: b}\nports: [{name: a, port: 1}, {name: b, port: 1}]", "two ports have the same number"),
		refused(service, "two ports of one name", "selector: {a: b}\nports: [{name: a, port: 1}, {name: a, port: 2}]", "Duplicate value"),
		refused(service, "port 0", "selector: {a: b}\nports: [{name: a, port: 0}]", "spec.ports[0].port"),
		refused(service, "a port without a name", "selector: {a: b}\nports: [{port: 1}]", "spec.ports[0].name: Required value"),
		refused(service, "an empty list of ports", "selector: {a: b}\nports: []", "should have at least 1 items"),
		refused(service, "weights of nothing", "selector: {a: b}\nversions: [{name: v1, selector: {a: b}, weight: 0}]", "give at least one a weight"),
		refused(service, "a version without a weight", "selector: {a: b}\nversions: [{name: v1, selector: {a: b}}]", "weight: Required value"),
		refused(service, "a version without a selector", "selector: {a: b}\nversions: [{name: v1, weight: 1}]", "selector: Required value"),
		refused(service, "an address that is none", endpoint(`address: example.com, port: 1, tls: {spiffeID: "`+id+`"}`), "address must be an IP address"),
		refused(service, "an address in long form", endpoint(`address: "2001:db8:0:0::10", port: 1, tls: {spiffeID: "`+id+`"}`), "address must be an IP address"),
		refused(service, "a loopback address", endpoint(`address: 127.0.0.1, port: 1, tls: {spiffeID: "`+id+`"}`), "address must be one that every node reaches"),
		refused(service, "an endpoint without an identity", endpoint(`address: 192.0.2.1, port: 1`), "tls: Required value"),
		refused(service, "an endpoint with an empty identity", endpoint(`address: 192.0.2.1, port: 1, tls: {}`), "spiffeID: Required value"),
		refused(service, "an identity that is none", endpoint(`address: 192.0.2.1, port: 1, tls: {spiffeID: "https://a/b"}`), "spiffeID"),
		refused(service, "an unknown core Service policy", "coreService: existing", "Unsupported value"),
		refused(service, "a certificate for too short", "selector: {a: b}\nidentity: {duration: 29s}", "identity.duration must be from 30s to 72h"),
		refused(service, "a certificate for too long", "selector: {a: b}\nidentity: {duration: 73h}", "identity.duration must be from 30s to 72h"),
		refused(service, "a duration without a unit", "selector: {a: b}\nidentity: {duration: '30'}", "spec.identity.duration"),
		refused(service, "a duration in days", "selector: {a: b}\nidentity: {duration: 1d}", "spec.identity.duration"),
		refused(service, "a hash of nothing", "selector: {a: b}\ntraffic: {policy: ConsistentHash}", "hashMetadata and policy: ConsistentHash belong together"),
		refused(service, "a hash that nothing uses", "selector: {a: b}\ntraffic: {hashMetadata: x-user}", "hashMetadata and policy: ConsistentHash belong together"),
		refused(service, "no time at all", "selector: {a: b}\ntraffic: {timeout: 0s}", "traffic.timeout must be"),
		refused(service, "a slow start that is too long", "selector: {a: b}\ntraffic: {slowStart: 2h}", "traffic.slowStart must be"),
		refused(service, "an ejection that is too short", "selector: {a: b}\ntraffic: {outlier: {ejection: 5ms}}", "outlier.ejection must be"),
		refused(service, "retries without attempts", "selector: {a: b}\ntraffic: {retry: {codes: [Unavailable]}}", "attempts: Required value"),
		refused(service, "a code in capitals", "selector: {a: b}\ntraffic: {retry: {attempts: 2, codes: [UNAVAILABLE]}}", "Unsupported value"),
		refused(service, "retries of a wildcard", "selector: {a: b}\ntraffic: {retry: {attempts: 2, methods: ['a.B/*']}}", "methods[0]"),
		refused(service, "a ConfigSource twice", "selector: {a: b}\nconfig: [a, b, a]", "a ConfigSource is named twice"),
		refused(service, "a subscription twice", "selector: {a: b}\nsubscriptions: [a, a]", "Duplicate value"),
		refused(service, "a subscription that is no name", "selector: {a: b}\nsubscriptions: ['*']", "subscriptions[0]"),

		refused(rule, "nothing", `{}`, "spec.action: Required value"),
		refused(rule, "no callers", "action: Allow\nfrom: []\nto: [{service: {name: a, methods: ['*']}}]", "spec.from"),
		refused(rule, "no targets", "action: Allow\nfrom: [{anyone: Authenticated}]", "spec.to: Required value"),
		refused(rule, "callers in no way", from(`{}`), "names callers in exactly one way"),
		refused(rule, "callers in two ways", from(`{everyoneIn: a, anyone: Authenticated}`), "names callers in exactly one way"),
		refused(rule, "a namespace without a name", from(`{everyoneIn: ""}`), "everyoneIn"),
		refused(rule, "a wildcard namespace", from(`{everyoneIn: "*"}`), "everyoneIn"),
		refused(rule, "a service without a name", from(`{service: {namespace: a}}`), "name: Required value"),
		refused(rule, "an unknown set of callers", from(`{anyone: Everyone}`), "Unsupported value"),
		refused(rule, "a target of no kind", to(`{}`), "exactly one of service and topic"),
		refused(rule, "a target of two kinds", to(`{service: {name: a, methods: ['*']}, topic: {name: a, verbs: [Publish]}}`), "exactly one of service and topic"),
		refused(rule, "a service without methods", to(`{service: {name: a}}`), "methods: Required value"),
		refused(rule, "a service with no methods", to(`{service: {name: a, methods: []}}`), "should have at least 1 items"),
		refused(rule, "a method without its service", to(`{service: {name: a, methods: [Get]}}`), "methods[0]"),
		refused(rule, "a wildcard service", to(`{service: {name: a, methods: ["*/Get"]}}`), "methods[0]"),
		refused(rule, "a method with its leading slash", to(`{service: {name: a, methods: ["/a.B/Get"]}}`), "methods[0]"),
		refused(rule, "a topic without verbs", to(`{topic: {name: a}}`), "verbs: Required value"),
		refused(rule, "a condition without its expression", from(`{anyone: Authenticated}`)+"\nconditions: [{}]", "cel: Required value"),
		refused(rule, "no conditions", from(`{anyone: Authenticated}`)+"\nconditions: []", "spec.conditions"),
		refused(rule, "a time that is none", from(`{anyone: Authenticated}`)+"\nexpires: tomorrow", "spec.expires"),

		refused(rule, "a mistyped condition", from(`{anyone: Authenticated}`)+"\nconditons: [{cel: 'false'}]", "spec"),
		refused(rule, "a namespace one level too high", from(`{service: {name: a}, namespace: b}`), "spec.from[0]"),
		refused(rule, "a mistyped namespace", from(`{service: {name: a, namespce: b}}`), "spec.from[0].service"),
		refused(rule, "a condition one level too deep", to(`{service: {name: a, methods: ['*'], conditions: []}}`), "spec.to[0].service"),

		named(config, "dotted.name", `layers: [{name: a, inline: "a: b"}]`, "Services name a ConfigSource by a DNS label"),
		refused(config, "no layers", `layers: []`, "spec.layers"),
		refused(config, "a layer of nothing", `layers: [{name: a}]`, "a layer has exactly one source"),
		refused(config, "a layer of two sources", layer(`inline: "a: b", configMap: {name: a}`), "a layer has exactly one source"),
		refused(config, "two layers of one name", `layers: [{name: a, inline: "a: b"}, {name: a, inline: "a: c"}]`, "Duplicate value"),
		refused(config, "a ConfigMap without a name", layer(`configMap: {key: a}`), "name: Required value"),
		refused(config, "etcd without endpoints", layer(`etcd: {prefix: /a}`), "endpoints: Required value"),
		refused(config, "etcd without a prefix", layer(`etcd: {endpoints: ["https://etcd:2379"]}`), "prefix: Required value"),
		refused(config, "a URL of a file", layer(`http: {url: "file:///etc/passwd"}`), "url"),
		refused(config, "a refresh that is too quick", layer(`http: {url: "https://a/", refresh: 10ms}`), "http.refresh must be"),
		refused(config, "a pin that is no revision", layer(`inline: "a: b"`)+"\npin: v1.2", "spec.pin"),

		named(topic, "dotted.name", `{}`, "a Topic's name is part of a subject"),
		refused(topic, "dead letters over HTTP", "provider: HTTP\ndeadLetter: true", "it has no dead letters"),
		refused(topic, "retention of nothing", `retention: {}`, "should have at least 1 properties"),
		refused(topic, "an age of nothing", `retention: {maxAge: 10ms}`, "retention.maxAge must be"),
		refused(topic, "a size in decimal units", `retention: {maxBytes: 1G}`, "spec.retention.maxBytes"),
		refused(topic, "a number of bytes", `retention: {maxBytes: 5}`, "spec.retention.maxBytes"),
		refused(topic, "six replicas", `replicas: 6`, "spec.replicas"),
		refused(topic, "a window of nothing", `dedupeWindow: 1ms`, "dedupeWindow must be"),
		refused(topic, "an ack at once", `delivery: {ackWait: 1ms}`, "delivery.ackWait must be"),
		refused(topic, "waits without deliveries", `delivery: {maxDeliver: 2, backoff: [1s, 2s]}`, "fewer items than maxDeliver"),
		refused(topic, "a wait of days", `delivery: {backoff: [100h]}`, "each item of delivery.backoff"),
		refused(topic, "a content type that is none", `contentType: json`, "spec.contentType"),
	}
}
