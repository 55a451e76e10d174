package wire

import "net/http"

// A Route is a method and the paths that it is for.
type Route struct {
	Method string
	// Path ends in a slash; {name}, {id}, {username}, {organisation} and {team} stand for
	// one segment.
	Path string
}

// Routes returns what a handler of [New] answers, in the order of the contract.
// Logs, metrics and the API's description name requests by it.
func Routes() []Route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	routes := []Route{
		{get, "/v1/api/"},
		{post, "/v1/api/accounts/"},
		{post, "/v1/api/accounts/token/"},
		{del, "/v1/api/accounts/{username}/"},
		{post, "/v1/api/accounts/{username}/token/"},
	}
	for _, collection := range []string{"/v1/api/pipes/", "/v1/api/remotes/"} {
		record := collection + "{name}/"
		routes = append(routes,
			Route{get, collection}, Route{post, collection},
			Route{get, record}, Route{put, record}, Route{patch, record}, Route{del, record},
			Route{get, record + "permissions/"}, Route{post, record + "permissions/"},
			Route{patch, record + "owner/"},
		)
	}
	const hooks, hook = "/v1/api/pipes/{name}/webhooks/", "/v1/api/pipes/{name}/webhooks/{id}/"
	const mirrors, mirror = "/v1/api/mirrors/", "/v1/api/mirrors/{name}/"
	const pipe, groups, group = "/v1/api/pipes/{name}/", "/v1/api/groups/", "/v1/api/groups/{organisation}/{team}/"
	return append(routes,
		Route{get, pipe + "files/"}, Route{post, pipe + "files/"}, Route{get, pipe + "changes/"},
		Route{get, pipe + "credentials/"}, Route{get, pipe + "analytics/"}, Route{post, pipe + "urls/"},
		Route{get, hooks}, Route{post, hooks}, Route{get, hook}, Route{patch, hook}, Route{del, hook},
		Route{get, hook + "deliveries/"}, Route{post, hook + "test/"},
		Route{get, groups}, Route{post, groups}, Route{get, group}, Route{del, group},
		Route{get, group + "members/"}, Route{post, group + "members/"},
		Route{get, pipe + "schedule/"}, Route{put, pipe + "schedule/"}, Route{patch, pipe + "schedule/"}, Route{del, pipe + "schedule/"},
		Route{get, "/v1/api/schedules/"},
		Route{get, "/v1/api/admin/jobs/"},
		Route{get, "/v1/api/audit/"},
		Route{get, mirrors}, Route{post, mirrors},
		Route{get, mirror}, Route{put, mirror}, Route{patch, mirror}, Route{del, mirror},
		Route{get, mirror + "runs/"}, Route{post, mirror + "runs/"},
	)
}
