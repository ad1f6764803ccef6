package main

import (
	"strings"
	"unicode"
)

// names are the resource and method of operations by operationId, where they are not what derive makes of it.
var names = map[string]string{
	"CreateWebhook":       "webhooks.create",
	"ListWebhooks":        "webhooks.list",
	"ListEventNames":      "webhooks.event_names",
	"GetWebhook":          "webhooks.get",
	"UpdateWebhook":       "webhooks.update",
	"DeleteWebhook":       "webhooks.delete",
	"RotateWebhookSecret": "webhooks.rotate_secret",
	"TestWebhook":         "webhooks.test",
	"ListDeliveries":      "webhooks.deliveries",
	"GetDelivery":         "deliveries.get",
	"ListAttempts":        "deliveries.attempts",
	"RetryDelivery":       "deliveries.retry",
	"PublishEvents":       "events.publish",
	"GetEvent":            "events.get",
	"CreateAPIKey":        "api_keys.create",
	"ListAPIKeys":         "api_keys.list",
	"GetAPIKey":           "api_keys.get",
	"DeleteAPIKey":        "api_keys.delete",
	"RevokeAPIKey":        "api_keys.revoke",
	"RotateAPIKey":        "api_keys.rotate",
	"DeliveryAnalytics":   "analytics.deliveries",
	"AttemptAnalytics":    "analytics.attempts",
	"ListChanges":         "audit.changes",
	"OpenAPI":             "operations.openapi",
}

// secretFields are shown by no repr.
var secretFields = map[string]bool{"secret": true, "new_secret": true, "key": true}

// keywords are the words of Python among the specification's names.
var keywords = map[string]bool{"in": true, "from": true, "class": true, "global": true, "import": true, "is": true, "not": true, "or": true, "and": true}

// derive is the resource and method of an operation.
func derive(tag, operationID string) (resource, method string) {
	if name, ok := names[operationID]; ok {
		resource, method, _ = strings.Cut(name, ".")
		return resource, method
	}
	return strings.ReplaceAll(tag, "-", "_"), snake(operationID)
}

// python is a name of the specification as one of Python.
func python(name string) string {
	name = snake(name)
	if keywords[name] {
		name += "_"
	}
	return name
}

// snake turns PascalCase, camelCase and Header-Names into snake_case.
func snake(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if r == '-' || r == '.' {
			b.WriteByte('_')
			continue
		}
		if unicode.IsUpper(r) && i > 0 && runes[i-1] != '-' && runes[i-1] != '_' &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// pascal turns snake_case into PascalCase.
func pascal(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "_") {
		if part == "api" {
			b.WriteString("API")
		} else if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}
