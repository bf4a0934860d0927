"""The demo: hikae's main job on the local cloud, watched from outside and checked against EC2 itself."""
