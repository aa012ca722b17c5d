"""What should happen: workflows, their steps and policies, built and checked."""
