"""From many callers to one model: requests, continuous batching, prompts by chunks, jobs."""
