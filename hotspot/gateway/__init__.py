"""hotspot-gateway: AI requests from OpenAI clients to providers (docs/ai.md)."""
