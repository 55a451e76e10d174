package d6tpipe_test

func setUmask(int) int { return 0 }
