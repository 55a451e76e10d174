package d6tpipe_test

import (
	"io"
	"log"
)

var discardLog = log.New(io.Discard, "", 0)
