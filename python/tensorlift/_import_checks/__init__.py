"""What is checked before the native module is loaded, and how to install again if it fails."""
