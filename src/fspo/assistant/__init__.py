"""The personalised assistant: profiles, answers, the OpenAI-compatible server, its page."""
