package d6tpipe

// A ChangePage is a part of a server's change feed of a pipe: what its scans saw that
// the last ones had not seen. A file comes once for each scan that saw it change, in the
// order of the scans, and as new again when its name could not be used for a while.
type ChangePage struct {
	Changes []Change `json:"changes"`
	// Cursor is the place after the last change.
	Cursor string `json:"cursor"`
	// More says that there is more after Cursor already.
	More bool `json:"more"`
	// Refused is how many names of the last scan cannot be used: nothing tells what
	// becomes of those.
	Refused int `json:"refused,omitempty"`
}
