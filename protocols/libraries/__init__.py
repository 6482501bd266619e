"""Large libraries of photographs: folder trees and shards, streamed, with an index of features on disk."""
