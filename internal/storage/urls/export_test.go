package urls

// Waiting is how many requests wait for the next question to the server.
func (s *Store) Waiting() int {
	s.signer.mu.Lock()
	defer s.signer.mu.Unlock()
	return len(s.signer.queue)
}
