"""Python packages in images: pip downloads wheels on the host, and installs them in the guest."""
