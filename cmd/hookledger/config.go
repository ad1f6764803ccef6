package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/consumers/sender/egress"
	"hookledger/deploy/embedded/broker"
	"hookledger/ledger"
	"hookledger/projections/history"
)

// config is everything that an operator can set, in one place. Each flag is
// also a variable in the environment: --data-dir is HOOKLEDGER_DATA_DIR. A flag
// wins over the environment.
type config struct {
	dataDir   string
	listen    string
	roles     []string
	node      string
	join      string
	logLevel  slog.Level
	logFormat string

	brokers           []string
	topicPrefix       string
	configPartitions  int
	eventPartitions   int
	deliverPartitions int
	replication       int
	minInsync         int
	historyRetention  time.Duration
	fsync             string

	clickhouseDSN string
	clickhouseDB  string
	auditDB       string
	engineLib     string

	allowHTTP    bool
	allowPrivate bool
	egressAllow  []netip.Prefix
	egressDeny   []netip.Prefix
	receiverCA   string

	eventNames      string
	schedule        []time.Duration
	giveUpAfter     time.Duration
	hold            time.Duration
	sendTimeout     time.Duration
	maxInFlight     int
	maxPerWebhook   int
	maxSlow         int
	breaker         partition.Breaker
	maxWaiting      int
	session         time.Duration
	shutdownTimeout time.Duration
	adminKey        bool
	pprof           string
	api             apiConfig
}

// The roles of a node.
const (
	roleAPI        = "api"
	roleRouter     = "router"
	roleDispatcher = "dispatcher"
	roleHistorian  = "historian"
)

func allRoles() []string { return []string{roleAPI, roleRouter, roleDispatcher, roleHistorian} }

func (c *config) has(role string) bool { return slices.Contains(c.roles, role) }

// embeddedBroker and embeddedEngine say what runs inside this process's data folder.
func (c *config) embeddedBroker() bool { return len(c.brokers) == 0 }
func (c *config) embeddedEngine() bool { return c.clickhouseDSN == "" }

// list is a flag whose value is separated by commas.
type list struct {
	value *[]string
	from  []string // what is allowed; nil for anything
}

func (l list) String() string {
	if l.value == nil {
		return ""
	}
	return strings.Join(*l.value, ",")
}

func (l list) Set(s string) error {
	*l.value = nil
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if l.from != nil && !slices.Contains(l.from, part) {
			return fmt.Errorf("%q is none of %s", part, strings.Join(l.from, ", "))
		}
		*l.value = append(*l.value, part)
	}
	return nil
}

// prefixes is a flag of CIDR ranges.
type prefixes struct{ value *[]netip.Prefix }

func (p prefixes) String() string { return "" }

func (p prefixes) Set(s string) (err error) {
	*p.value, err = egress.ParsePrefixes(s)
	return err
}

// durations is a flag of durations separated by commas.
type durations struct{ value *[]time.Duration }

func (d durations) String() string {
	if d.value == nil {
		return ""
	}
	var parts []string
	for _, v := range *d.value {
		parts = append(parts, v.String())
	}
	return strings.Join(parts, ",")
}

func (d durations) Set(s string) error {
	*d.value = nil
	for part := range strings.SplitSeq(s, ",") {
		v, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		*d.value = append(*d.value, v)
	}
	return nil
}

// placeFlags are the flags that say where log and history are.
func (c *config) placeFlags(f *flag.FlagSet) {
	f.StringVar(&c.dataDir, "data-dir", "data", "`folder` of keys, snapshots, and of the embedded broker and engine")
	f.Var(list{value: &c.brokers}, "kafka-brokers", "`host:port,...` of Kafka; none is the embedded broker in the data folder")
	f.StringVar(&c.topicPrefix, "topic-prefix", "hl.", "`prefix` of the names of topics and groups")
	f.IntVar(&c.configPartitions, "config-partitions", 4, "partitions of config; never changes once made")
	f.IntVar(&c.eventPartitions, "event-partitions", 4, "partitions of events; never changes once made")
	f.IntVar(&c.deliverPartitions, "delivery-partitions", 4, "partitions of deliveries, lanes and attempts; never changes once made")
	f.IntVar(&c.replication, "replication-factor", 0, "copies of each topic (default 1 embedded, 3 on Kafka)")
	f.IntVar(&c.minInsync, "min-insync-replicas", 0, "copies that acknowledge (default 1 embedded, 2 on Kafka)")
	f.DurationVar(&c.historyRetention, "history-retention", 30*24*time.Hour, "how long events and attempts are kept")
	f.StringVar(&c.clickhouseDSN, "clickhouse-dsn", "", "`DSN` of ClickHouse; none is the embedded engine")
	f.StringVar(&c.clickhouseDB, "clickhouse-database", history.DefaultDatabase, "`name` of the history's database")
	f.StringVar(&c.auditDB, "audit-database", history.DefaultAuditDatabase, "`name` of the database that holds the views for auditors")
	f.StringVar(&c.engineLib, "engine-lib", "", "`path` of libchdb, the embedded engine (default: searched beside the program)")
	f.StringVar(&c.fsync, "fsync", string(broker.FsyncGroup), "embedded broker: `group` survives a power cut, none only a crash of the program")
	f.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "`level`: debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
}

// serveFlags are the flags of the service.
func (c *config) serveFlags(f *flag.FlagSet) {
	rules := partition.Defaults()
	c.schedule, c.breaker = rules.Schedule, rules.Breaker
	c.roles = allRoles()
	c.placeFlags(f)
	f.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`host:port` of the HTTP API")
	f.Var(list{&c.roles, allRoles()}, "roles", "what this node does")
	f.StringVar(&c.node, "node", "", "`name` of this node, unique and the same after a restart (default: the host's name)")
	f.StringVar(&c.join, "join", "", "data `folder` of a node on this machine whose embedded broker, engine and keys this node uses")
	f.DurationVar(&c.session, "session-timeout", 10*time.Second, "how long the others wait for a silent node before they take over its partitions")
	f.BoolVar(&c.allowHTTP, "allow-http-urls", false, "let webhooks have http:// URLs")
	f.BoolVar(&c.allowPrivate, "allow-private-networks", false, "let webhooks reach loopback and private addresses")
	f.Var(prefixes{&c.egressAllow}, "egress-allow", "`CIDR,...` that webhooks may reach though they are special")
	f.Var(prefixes{&c.egressDeny}, "egress-deny", "`CIDR,...` that webhooks may never reach")
	f.StringVar(&c.receiverCA, "receiver-ca", "", "PEM `file` of certificate authorities to trust beside the system's")
	f.StringVar(&c.eventNames, "event-names", "", "`file` of event names beside the platform's, one a line")
	f.Var(durations{&c.schedule}, "retry-schedule", "`waits` after each failed try")
	f.DurationVar(&c.giveUpAfter, "give-up-after", rules.GiveUpAfter, "when a round ends, counted from its first try without pauses")
	f.DurationVar(&c.hold, "hold", rules.Hold, "how long deliveries of a paused or disabled webhook are kept")
	f.DurationVar(&c.sendTimeout, "send-timeout", 15*time.Second, "what one try may take, from name resolution to the last byte")
	f.IntVar(&c.maxInFlight, "max-in-flight", 4096, "tries under way on this node")
	f.IntVar(&c.maxPerWebhook, "max-in-flight-per-webhook", rules.PerWebhook, "tries under way to one webhook")
	f.IntVar(&c.maxSlow, "max-slow", 1024, "more tries that have taken over 2 s; the oldest is cut when there are more")
	f.IntVar(&c.breaker.Failures, "breaker-failures", rules.Breaker.Failures, "failures in a row after which a webhook is only probed")
	f.DurationVar(&c.breaker.ProbeAfter, "probe-after", rules.Breaker.ProbeAfter, "when a failing webhook is probed first; each next wait is twice as long")
	f.DurationVar(&c.breaker.ProbeMost, "probe-most", rules.Breaker.ProbeMost, "the longest wait between two probes")
	f.IntVar(&c.maxWaiting, "max-waiting", 5_000_000, "deliveries waiting on this node, beyond which it fetches no more")
	f.DurationVar(&c.shutdownTimeout, "shutdown-timeout", 20*time.Second, "what a stop may take")
	f.StringVar(&c.pprof, "pprof", "", "`host:port` on loopback for Go's profiler; none by default")
	c.apiFlags(f)
	f.BoolVar(&c.adminKey, "admin-key", true, "embedded: keep an admin API key in the data folder for the command line")
}

// parse reads flags and environment and names every fault at once.
func (c *config) parse(f *flag.FlagSet, args []string, std stdio) error {
	return c.parseWith(f, args, std, "")
}

// parseWith is parse with a text about the command for its help.
func (c *config) parseWith(f *flag.FlagSet, args []string, std stdio, about string) error {
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	var faults []error
	f.VisitAll(func(fl *flag.Flag) {
		name := "HOOKLEDGER_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok {
			if err := f.Set(fl.Name, v); err != nil {
				// A DSN may hold a password: the value is not repeated.
				faults = append(faults, fmt.Errorf("%s: %s", name, explain(err)))
			}
		}
	})
	for {
		err := f.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(std.out, "Usage: hookledger %s [flags]\n\n", f.Name())
			if about != "" {
				fmt.Fprintln(std.out, about)
			}
			f.SetOutput(std.out)
			f.PrintDefaults()
			fmt.Fprint(std.out, "\nEach flag is also a variable: --data-dir is HOOKLEDGER_DATA_DIR.\n")
			return err
		}
		if err == nil {
			break
		}
		faults = append(faults, err)
		rest := f.Args() // what follows the flag that was refused, perhaps its value first
		for len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			rest = rest[1:]
		}
		if len(rest) == 0 || len(rest) == len(args) {
			break
		}
		args = rest
	}
	if len(faults) == 0 && f.NArg() > 0 && f.Name() != "sql" {
		faults = append(faults, fmt.Errorf("%q is no flag", f.Arg(0)))
	}
	if c.replication == 0 {
		c.replication = map[bool]int{true: 1, false: 3}[c.embeddedBroker()]
	}
	if c.minInsync == 0 {
		c.minInsync = map[bool]int{true: 1, false: 2}[c.embeddedBroker()]
	}
	return errors.Join(append(faults, c.check(f)...)...)
}

// explain is an error of a flag without its value.
func explain(err error) string {
	if errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) {
		return "not a number"
	}
	if text := err.Error(); text != "parse error" { // what package flag says of numbers, durations and bools
		return text
	}
	return "can't be read as its flag's kind of value"
}

// check names every setting that can't be.
func (c *config) check(f *flag.FlagSet) []error {
	var faults []error
	bad := func(name, format string, args ...any) {
		if f.Lookup(name) != nil {
			faults = append(faults, fmt.Errorf("--%s: %s", name, fmt.Sprintf(format, args...)))
		}
	}
	positive := func(name string, v int) {
		if v < 1 {
			bad(name, "%d is not positive", v)
		}
	}
	span := func(name string, v, least time.Duration) {
		if v < least {
			bad(name, "%s is too short, the least is %s", v, least)
		}
	}
	if c.fsync != string(broker.FsyncGroup) && c.fsync != string(broker.FsyncNone) {
		bad("fsync", "%q is neither group nor none", c.fsync)
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		bad("log-format", "%q is neither text nor json", c.logFormat)
	}
	if c.dataDir == "" {
		bad("data-dir", "is empty")
	}
	positive("config-partitions", c.configPartitions)
	positive("event-partitions", c.eventPartitions)
	positive("delivery-partitions", c.deliverPartitions)
	if c.embeddedBroker() && (c.replication > 1 || c.minInsync > 1) {
		bad("replication-factor", "the embedded broker keeps one copy; more need --kafka-brokers")
	}
	if c.minInsync > c.replication {
		bad("min-insync-replicas", "%d is more than the %d replicas there are", c.minInsync, c.replication)
	}
	if f.Lookup("listen") == nil {
		return faults
	}
	if len(c.roles) == 0 {
		bad("roles", "names none of %s", strings.Join(allRoles(), ", "))
	}
	if _, _, err := net.SplitHostPort(c.listen); err != nil {
		bad("listen", "%v", err)
	}
	if host, _, err := net.SplitHostPort(c.pprof); c.pprof != "" {
		if ip, parseErr := netip.ParseAddr(host); err != nil || parseErr != nil || !ip.IsLoopback() {
			bad("pprof", "want a loopback address such as 127.0.0.1:6060: a profile shows what is in memory")
		}
	}
	if len(c.schedule) == 0 || slices.ContainsFunc(c.schedule, func(d time.Duration) bool { return d <= 0 }) {
		bad("retry-schedule", "want at least one wait, each positive, such as 5s,5m,30m")
	}
	span("give-up-after", c.giveUpAfter, time.Second)
	span("hold", c.hold, time.Second)
	span("probe-after", c.breaker.ProbeAfter, time.Millisecond)
	span("probe-most", c.breaker.ProbeMost, c.breaker.ProbeAfter)
	span("send-timeout", c.sendTimeout, time.Millisecond)
	span("shutdown-timeout", c.shutdownTimeout, time.Second)
	span("session-timeout", c.session, partition.Defaults().Lease+time.Second)
	positive("max-in-flight", c.maxInFlight)
	positive("max-in-flight-per-webhook", c.maxPerWebhook)
	positive("max-slow", c.maxSlow)
	positive("breaker-failures", c.breaker.Failures)
	positive("max-waiting", c.maxWaiting)
	c.checkAPI(bad)
	// What waits comes back from `events` by offset, so events must outlive it.
	if longest := c.giveUpAfter + c.hold; c.historyRetention < longest {
		bad("history-retention", "%s is shorter than what a delivery may wait (--give-up-after and --hold, %s)", c.historyRetention, longest)
	}
	return faults
}

// settings are the topics as configured.
func (c *config) settings() ledger.Settings {
	s := ledger.EmbeddedSettings(c.topicPrefix)
	s.ConfigPartitions, s.EventPartitions, s.DeliveryPartitions = int32(c.configPartitions), int32(c.eventPartitions), int32(c.deliverPartitions)
	s.ReplicationFactor, s.MinInsyncReplicas = int16(c.replication), c.minInsync
	s.HistoryRetention = c.historyRetention
	s.BrokerTrims = !c.embeddedBroker()
	return s
}

// rules are the dispatcher's rules as configured.
func (c *config) rules() partition.Config {
	r := partition.Defaults()
	r.Schedule, r.GiveUpAfter, r.Hold, r.PerWebhook = c.schedule, c.giveUpAfter, c.hold, c.maxPerWebhook
	r.Breaker = c.breaker
	return r
}
